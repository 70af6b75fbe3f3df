// subkern._C: addresses, sizes and strides in, kernels out. Knows no tensor library.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <string>
#include <vector>

#include "../cpu/isa.h"
#include "checks.h"
#include "subkern/adam.h"
#include "subkern/gemm.h"
#include "subkern/lowrank_adam.h"

namespace py = pybind11;

namespace subkern {
namespace {

// How often each entry point ran, so that tests and doctor can tell a silent fallback.
struct Calls {
  std::atomic<std::int64_t> lowrank_adam_moments{0};
  std::atomic<std::int64_t> lowrank_adam_apply{0};
  std::atomic<std::int64_t> adam{0};
  std::atomic<std::int64_t> gemm{0};
};
Calls calls;

py::dict call_counts() {
  py::dict counts;
  counts["lowrank_adam_moments"] = calls.lowrank_adam_moments.load();
  counts["lowrank_adam_apply"] = calls.lowrank_adam_apply.load();
  counts["adam"] = calls.adam.load();
  counts["gemm"] = calls.gemm.load();
  return counts;
}

py::dict isa_info() {
  py::list compiled, supported;
  for (int i = 0; i < kIsaCount; ++i) {
    const Isa isa = static_cast<Isa>(i);
    if (isa_compiled(isa)) compiled.append(isa_name(isa));
    if (isa_supported(isa)) supported.append(isa_name(isa));
  }
  py::dict info;
  info["active"] = isa_name(active_isa());
  info["compiled"] = compiled;
  info["supported"] = supported;
  return info;
}

std::vector<bool> to_bools(const std::vector<unsigned char>& flags) {
  return {flags.begin(), flags.end()};
}

std::vector<bool> adam(const Addresses& W, const Addresses& G, const Addresses& exp_avg,
                       const Addresses& exp_avg_sq, const Addresses& step, const Addresses& skipped,
                       const std::vector<std::int64_t>& numel, int w_dtype, double lr, double beta1,
                       double beta2, double eps, double decay, double update_scale,
                       bool correct_bias, bool skip_nonfinite, int threads) {
  const Check check("adam");
  const std::size_t count = W.size();
  check.length("numel", numel, count);
  for (const std::int64_t n : numel) check.size("numel", n);
  check.pointers("step", step, count);
  check.pointers("skipped", skipped, count);
  const std::pair<const char*, const Addresses&> buffers[] = {
      {"W", W}, {"G", G}, {"exp_avg", exp_avg}, {"exp_avg_sq", exp_avg_sq}};
  for (const auto& [name, list] : buffers) {
    check.length(name, list, count);
    for (std::size_t p = 0; p < count; ++p) check.pointer(name, list[p], numel[p] > 0);
  }
  check.threads(threads);
  const Dtype dtype = check.dtype("w_dtype", w_dtype);

  const auto weights = as_pointers<void>(W);
  const auto gradients = as_pointers<const void>(G);
  const auto first = as_pointers<float>(exp_avg), second = as_pointers<float>(exp_avg_sq);
  const auto steps = as_pointers<float>(step), skips = as_pointers<float>(skipped);
  const AdamList list{static_cast<std::int64_t>(count),
                      weights.data(),
                      gradients.data(),
                      first.data(),
                      second.data(),
                      steps.data(),
                      skips.data(),
                      numel.data(),
                      dtype};
  const AdamOptions options{lr,           beta1,        beta2,          eps,    decay,
                            update_scale, correct_bias, skip_nonfinite, threads};
  std::vector<unsigned char> flags(count);
  {
    py::gil_scoped_release release;
    sk_adam(list, options, flags.data());
  }
  ++calls.adam;
  return to_bools(flags);
}

Rule to_rule(const Check& check, int rule) {
  if (rule != kGalore && rule != kFira)
    check.fail("rule", "be 0 (galore) or 1 (fira)", std::to_string(rule));
  return static_cast<Rule>(rule);
}

std::int64_t workspace_floats(std::int64_t count, std::int64_t rows, std::int64_t cols,
                              int column_axis, std::int64_t x_rows, std::int64_t x_cols, int rule) {
  const Check check("lowrank_adam_workspace");
  check.size("count", count);
  check.elements("rows", rows, "cols", cols);
  check.elements("x_rows", x_rows, "x_cols", x_cols);
  check.one_of_two("column_axis", column_axis);
  return lowrank_adam_workspace(count, rows, cols, column_axis, x_rows, x_cols,
                                to_rule(check, rule));
}

std::vector<bool> moments(const Addresses& R, const Addresses& exp_avg, const Addresses& exp_avg_sq,
                          const Addresses& step, const Addresses& skipped, std::int64_t rows,
                          std::int64_t cols, int column_axis, int r_dtype, double lr, double beta1,
                          double beta2, double eps, double decay, double update_scale,
                          bool correct_bias, double scale, bool skip_nonfinite, int rule,
                          const Addresses& X, int x_dtype, std::int64_t x_rows, std::int64_t x_cols,
                          std::int64_t x_row_stride, std::int64_t x_col_stride,
                          const Addresses& limiter, const Addresses& coef, double gamma,
                          double norm_eps, double residual_scale, bool matrix_norm,
                          bool skip_residual, Address workspace, std::int64_t workspace_floats,
                          int threads) {
  const Check check("lowrank_adam_moments");
  const std::size_t count = R.size();
  const bool filled = check.elements("rows", rows, "cols", cols) > 0;
  check.pointers("R", R, count, filled);
  check.pointers("exp_avg", exp_avg, count, filled);
  check.pointers("exp_avg_sq", exp_avg_sq, count, filled);
  check.pointers("step", step, count);
  check.pointers("skipped", skipped, count);
  check.one_of_two("column_axis", column_axis);
  check.threads(threads);

  LowrankAdamChunk chunk{};
  chunk.count = static_cast<std::int64_t>(count);
  chunk.rows = rows;
  chunk.cols = cols;
  chunk.column_axis = column_axis;
  chunk.r_dtype = check.dtype("r_dtype", r_dtype);
  chunk.scale = scale;
  chunk.rule = to_rule(check, rule);
  if (chunk.rule == kFira) {
    const bool x_filled = check.elements("x_rows", x_rows, "x_cols", x_cols) > 0;
    const std::int64_t columns = column_axis == 1 ? x_cols : x_rows;
    const std::int64_t r_columns = column_axis == 1 ? cols : rows;
    if (!matrix_norm && columns != r_columns) {
      check.fail(column_axis == 1 ? "x_cols" : "x_rows",
                 "equal the number of canonical columns of R (" + std::to_string(r_columns) + ")",
                 std::to_string(columns));
    }
    check.pointers("X", X, count, x_filled && !skip_residual);
    check.pointers("limiter", limiter, count);
    check.pointers("coef", coef, count, columns > 0);
    if (!(gamma > 0.0)) check.fail("gamma", "be positive", std::to_string(gamma));
    const std::int64_t needed =
        skip_residual
            ? 0
            : lowrank_adam_workspace(chunk.count, rows, cols, column_axis, x_rows, x_cols, kFira);
    if (workspace_floats < needed) {
      check.fail("workspace_floats", "be at least " + std::to_string(needed),
                 std::to_string(workspace_floats));
    }
    check.pointer("workspace", workspace, needed > 0);
    chunk.x_dtype = check.dtype("x_dtype", x_dtype);
    chunk.x_rows = x_rows;
    chunk.x_cols = x_cols;
    chunk.x_row_stride = x_row_stride;
    chunk.x_col_stride = x_col_stride;
    chunk.gamma = gamma;
    chunk.norm_eps = norm_eps;
    chunk.residual_scale = residual_scale;
    chunk.matrix_norm = matrix_norm;
    chunk.skip_residual = skip_residual;
    chunk.workspace = as<float>(workspace);
  }
  const auto r = as_pointers<void>(R);
  const auto x = as_pointers<const void>(X);
  const auto first = as_pointers<float>(exp_avg), second = as_pointers<float>(exp_avg_sq);
  const auto steps = as_pointers<float>(step), skips = as_pointers<float>(skipped);
  const auto limiters = as_pointers<float>(limiter), coefs = as_pointers<float>(coef);
  chunk.R = r.data();
  chunk.X = x.data();
  chunk.exp_avg = first.data();
  chunk.exp_avg_sq = second.data();
  chunk.step = steps.data();
  chunk.skipped = skips.data();
  chunk.limiter = limiters.data();
  chunk.coef = coefs.data();
  const AdamOptions options{lr,           beta1,        beta2,          eps,    decay,
                            update_scale, correct_bias, skip_nonfinite, threads};
  std::vector<unsigned char> flags(count);
  {
    py::gil_scoped_release release;
    sk_lowrank_adam_moments(chunk, options, flags.data());
  }
  ++calls.lowrank_adam_moments;
  return to_bools(flags);
}

void apply(Address W, int w_dtype, std::int64_t w_row_stride, std::int64_t w_col_stride, Address T,
           int t_dtype, std::int64_t t_row_stride, std::int64_t t_col_stride, Address X,
           int x_dtype, std::int64_t x_row_stride, std::int64_t x_col_stride, Address coef,
           int coef_axis, std::int64_t rows, std::int64_t cols, double decay, int threads) {
  const Check check("lowrank_adam_apply");
  const bool filled = check.elements("rows", rows, "cols", cols) > 0;
  check.pointer("W", W, filled);
  check.one_of_two("coef_axis", coef_axis);
  check.threads(threads);
  const Panel w{as<void>(W), check.dtype("w_dtype", w_dtype), w_row_stride, w_col_stride};
  const Panel t{as<void>(T), check.dtype("t_dtype", t_dtype), t_row_stride, t_col_stride};
  const Panel x{as<void>(X), check.dtype("x_dtype", x_dtype), x_row_stride, x_col_stride};
  {
    py::gil_scoped_release release;
    sk_lowrank_adam_apply(w, t, x, as<const float>(coef), coef_axis, rows, cols, decay, threads);
  }
  ++calls.lowrank_adam_apply;
}

void gemm(Address A, std::int64_t a_row_stride, std::int64_t a_col_stride, Address B,
          std::int64_t b_row_stride, std::int64_t b_col_stride, Address C,
          std::int64_t c_row_stride, std::int64_t m, std::int64_t n, std::int64_t k, double beta,
          int threads) {
  const Check check("gemm");
  check.pointer("A", A, check.elements("m", m, "k", k) > 0 && n > 0);
  check.pointer("B", B, check.elements("k", k, "n", n) > 0 && m > 0);
  check.pointer("C", C, check.elements("m", m, "n", n) > 0);
  check.threads(threads);
  const Gemm product{as<const float>(A),
                     a_row_stride,
                     a_col_stride,
                     as<const float>(B),
                     b_row_stride,
                     b_col_stride,
                     as<float>(C),
                     c_row_stride,
                     1,
                     m,
                     n,
                     k,
                     static_cast<float>(beta)};
  {
    py::gil_scoped_release release;
    sk_gemm(product, threads);
  }
  ++calls.gemm;
}

}  // namespace
}  // namespace subkern

PYBIND11_MODULE(_C, m) {
  using py::arg;
  m.doc() = "CPU kernels of subkern. Addresses are unsigned integers; 0 means none.";
  m.def("isa_info", &subkern::isa_info,
        "Instruction sets: the active one, those compiled, those this machine supports.");
  m.def("call_counts", &subkern::call_counts, "Completed calls per entry point.");
  m.def("lowrank_adam_workspace", &subkern::workspace_floats, py::kw_only(), arg("count"),
        arg("rows"), arg("cols"), arg("column_axis"), arg("x_rows"), arg("x_cols"), arg("rule"),
        "Floats of scratch that lowrank_adam_moments needs.");
  m.def("lowrank_adam_moments", &subkern::moments, py::kw_only(), arg("R"), arg("exp_avg"),
        arg("exp_avg_sq"), arg("step"), arg("skipped"), arg("rows"), arg("cols"),
        arg("column_axis"), arg("r_dtype"), arg("lr"), arg("beta1"), arg("beta2"), arg("eps"),
        arg("decay"), arg("update_scale"), arg("correct_bias"), arg("scale"), arg("skip_nonfinite"),
        arg("rule"), arg("X"), arg("x_dtype"), arg("x_rows"), arg("x_cols"), arg("x_row_stride"),
        arg("x_col_stride"), arg("limiter"), arg("coef"), arg("gamma"), arg("norm_eps"),
        arg("residual_scale"), arg("matrix_norm"), arg("skip_residual"), arg("workspace"),
        arg("workspace_floats"), arg("threads"),
        "Moments and direction of a chunk of projected gradients; returns the skipped flags.");
  m.def("lowrank_adam_apply", &subkern::apply, py::kw_only(), arg("W"), arg("w_dtype"),
        arg("w_row_stride"), arg("w_col_stride"), arg("T"), arg("t_dtype"), arg("t_row_stride"),
        arg("t_col_stride"), arg("X"), arg("x_dtype"), arg("x_row_stride"), arg("x_col_stride"),
        arg("coef"), arg("coef_axis"), arg("rows"), arg("cols"), arg("decay"), arg("threads"),
        "W = decay * W + T + coef * X, rounded once.");
  m.def("adam", &subkern::adam, py::kw_only(), arg("W"), arg("G"), arg("exp_avg"),
        arg("exp_avg_sq"), arg("step"), arg("skipped"), arg("numel"), arg("w_dtype"), arg("lr"),
        arg("beta1"), arg("beta2"), arg("eps"), arg("decay"), arg("update_scale"),
        arg("correct_bias"), arg("skip_nonfinite"), arg("threads"),
        "Adam on a list of parameters; returns the skipped flags.");
  m.def("gemm", &subkern::gemm, py::kw_only(), arg("A"), arg("a_row_stride"), arg("a_col_stride"),
        arg("B"), arg("b_row_stride"), arg("b_col_stride"), arg("C"), arg("c_row_stride"), arg("m"),
        arg("n"), arg("k"), arg("beta"), arg("threads"), "C = beta * C + A @ B in fp32.");
}
