// Bindings of the stages of a low-rank Adam step.
#include "subkern/lowrank_adam.h"

#include "bindings.h"
#include "checks.h"
#include "subkern/product.h"

namespace subkern {
namespace {

Counter lowrank_adam_moments_calls("lowrank_adam_moments");
Counter lowrank_adam_apply_calls("lowrank_adam_apply");
Counter lowrank_project_calls("lowrank_project");
Counter lowrank_update_calls("lowrank_update");

Rule to_rule(const Check& check, int rule) {
  if (rule != kGalore && rule != kFira)
    check.fail("rule", "be 0 (galore) or 1 (fira)", std::to_string(rule));
  return static_cast<Rule>(rule);
}

std::int64_t workspace_floats(std::int64_t count, std::int64_t rows, std::int64_t cols,
                              int column_axis, int rule) {
  const Check check("lowrank_adam_workspace");
  check.size("count", count);
  check.elements("rows", rows, "cols", cols);
  check.one_of_two("column_axis", column_axis);
  return lowrank_adam_workspace(count, rows, cols, column_axis, to_rule(check, rule));
}

std::vector<bool> moments(const Addresses& R, const Addresses& exp_avg, const Addresses& exp_avg_sq,
                          const Addresses& step, const Addresses& skipped, std::int64_t rows,
                          std::int64_t cols, int column_axis, int r_dtype, double lr, double beta1,
                          double beta2, double eps, double decay, double update_scale,
                          bool correct_bias, double scale, bool skip_nonfinite, int rule,
                          std::int64_t columns, const Addresses& norms, const Addresses& limiter,
                          const Addresses& coef, double gamma, double norm_eps,
                          double residual_scale, bool matrix_norm, bool skip_residual,
                          Address workspace, std::int64_t workspace_floats, int threads) {
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
    check.size("columns", columns);
    const std::int64_t r_columns = column_axis == 1 ? cols : rows;
    if (!matrix_norm && columns != r_columns) {
      check.fail("columns", "equal the canonical columns of R (" + std::to_string(r_columns) + ")",
                 std::to_string(columns));
    }
    check.pointers("norms", norms, count, columns > 0 && !skip_residual);
    check.pointers("limiter", limiter, count);
    check.pointers("coef", coef, count, columns > 0);
    if (!(gamma > 0.0)) check.fail("gamma", "be positive", std::to_string(gamma));
    const std::int64_t needed =
        skip_residual ? 0 : lowrank_adam_workspace(chunk.count, rows, cols, column_axis, kFira);
    if (workspace_floats < needed) {
      check.fail("workspace_floats", "be at least " + std::to_string(needed),
                 std::to_string(workspace_floats));
    }
    check.pointer("workspace", workspace, needed > 0);
    chunk.columns = columns;
    chunk.gamma = gamma;
    chunk.norm_eps = norm_eps;
    chunk.residual_scale = residual_scale;
    chunk.matrix_norm = matrix_norm;
    chunk.skip_residual = skip_residual;
    chunk.workspace = as<float>(workspace);
  }
  const auto r = as_pointers<void>(R);
  const auto squares = as_pointers<const float>(norms);
  const auto first = as_pointers<float>(exp_avg), second = as_pointers<float>(exp_avg_sq);
  const auto steps = as_pointers<float>(step), skips = as_pointers<float>(skipped);
  const auto limiters = as_pointers<float>(limiter), coefs = as_pointers<float>(coef);
  chunk.R = r.data();
  chunk.norms = squares.data();
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
  ++lowrank_adam_moments_calls;
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
  ++lowrank_adam_apply_calls;
}

LowrankShape to_shape(const Check& check, std::int64_t rows, std::int64_t cols, std::int64_t rank,
                      int column_axis) {
  check.elements("rows", rows, "cols", cols);
  check.elements("rows", rows, "rank", rank);
  check.elements("cols", cols, "rank", rank);
  check.one_of_two("column_axis", column_axis);
  return {rows, cols, rank, column_axis};
}

std::int64_t product_workspace(std::int64_t rows, std::int64_t cols, std::int64_t rank,
                               int column_axis, int threads) {
  const Check check("lowrank_product_workspace");
  check.threads(threads);
  return lowrank_product_workspace(to_shape(check, rows, cols, rank, column_axis), threads);
}

float* product_scratch(const Check& check, const LowrankShape& shape, Address workspace,
                       std::int64_t floats, int threads) {
  const std::int64_t needed = lowrank_product_workspace(shape, threads);
  if (floats < needed) {
    check.fail("workspace_floats", "be at least " + std::to_string(needed), std::to_string(floats));
  }
  check.pointer("workspace", workspace, true);
  return as<float>(workspace);
}

void project(Address X, int x_dtype, std::int64_t x_row_stride, std::int64_t x_col_stride,
             Address P, int p_dtype, std::int64_t p_row_stride, std::int64_t p_col_stride,
             Address R, Address norms, std::int64_t rows, std::int64_t cols, std::int64_t rank,
             int column_axis, Address workspace, std::int64_t workspace_floats, int threads) {
  const Check check("lowrank_project");
  const LowrankShape shape = to_shape(check, rows, cols, rank, column_axis);
  check.pointer("X", X, rows > 0 && cols > 0);
  check.pointer("P", P, shape.length() > 0 && rank > 0);
  check.pointer("R", R, shape.columns() > 0 && rank > 0);
  check.threads(threads);
  const Panel x{as<void>(X), check.dtype("x_dtype", x_dtype), x_row_stride, x_col_stride};
  const Panel p{as<void>(P), check.dtype("p_dtype", p_dtype), p_row_stride, p_col_stride};
  float* const scratch = product_scratch(check, shape, workspace, workspace_floats, threads);
  {
    py::gil_scoped_release release;
    sk_lowrank_project(shape, x, p, as<float>(R), as<float>(norms), scratch, threads);
  }
  ++lowrank_project_calls;
}

void update(Address W, int w_dtype, std::int64_t w_row_stride, std::int64_t w_col_stride, Address P,
            int p_dtype, std::int64_t p_row_stride, std::int64_t p_col_stride, Address D, Address X,
            int x_dtype, std::int64_t x_row_stride, std::int64_t x_col_stride, Address coef,
            std::int64_t rows, std::int64_t cols, std::int64_t rank, int column_axis, double decay,
            Address workspace, std::int64_t workspace_floats, int threads) {
  const Check check("lowrank_update");
  const LowrankShape shape = to_shape(check, rows, cols, rank, column_axis);
  check.pointer("W", W, rows > 0 && cols > 0);
  check.pointer("P", P, shape.length() > 0 && rank > 0);
  check.pointer("D", D, shape.columns() > 0 && rank > 0);
  check.pointer("coef", coef, X != 0);
  check.threads(threads);
  const Panel w{as<void>(W), check.dtype("w_dtype", w_dtype), w_row_stride, w_col_stride};
  const Panel p{as<void>(P), check.dtype("p_dtype", p_dtype), p_row_stride, p_col_stride};
  const Panel x{as<void>(X), check.dtype("x_dtype", x_dtype), x_row_stride, x_col_stride};
  float* const scratch = product_scratch(check, shape, workspace, workspace_floats, threads);
  {
    py::gil_scoped_release release;
    sk_lowrank_update(shape, w, p, as<const float>(D), x, as<const float>(coef), decay, scratch,
                      threads);
  }
  ++lowrank_update_calls;
}

}  // namespace

void bind_lowrank_adam(py::module_& m) {
  using py::arg;
  m.def("lowrank_adam_workspace", &workspace_floats, py::kw_only(), arg("count"), arg("rows"),
        arg("cols"), arg("column_axis"), arg("rule"),
        "Floats of scratch that lowrank_adam_moments needs.");
  m.def("lowrank_adam_moments", &moments, py::kw_only(), arg("R"), arg("exp_avg"),
        arg("exp_avg_sq"), arg("step"), arg("skipped"), arg("rows"), arg("cols"),
        arg("column_axis"), arg("r_dtype"), arg("lr"), arg("beta1"), arg("beta2"), arg("eps"),
        arg("decay"), arg("update_scale"), arg("correct_bias"), arg("scale"), arg("skip_nonfinite"),
        arg("rule"), arg("columns"), arg("norms"), arg("limiter"), arg("coef"), arg("gamma"),
        arg("norm_eps"), arg("residual_scale"), arg("matrix_norm"), arg("skip_residual"),
        arg("workspace"), arg("workspace_floats"), arg("threads"),
        "Moments and direction of a chunk of projected gradients; returns the skipped flags.");
  m.def("lowrank_adam_apply", &apply, py::kw_only(), arg("W"), arg("w_dtype"), arg("w_row_stride"),
        arg("w_col_stride"), arg("T"), arg("t_dtype"), arg("t_row_stride"), arg("t_col_stride"),
        arg("X"), arg("x_dtype"), arg("x_row_stride"), arg("x_col_stride"), arg("coef"),
        arg("coef_axis"), arg("rows"), arg("cols"), arg("decay"), arg("threads"),
        "W = decay * W + T + coef * X, rounded once.");
  m.def("lowrank_product_workspace", &product_workspace, py::kw_only(), arg("rows"), arg("cols"),
        arg("rank"), arg("column_axis"), arg("threads"),
        "Floats of scratch that lowrank_project and lowrank_update need.");
  m.def("lowrank_project", &project, py::kw_only(), arg("X"), arg("x_dtype"), arg("x_row_stride"),
        arg("x_col_stride"), arg("P"), arg("p_dtype"), arg("p_row_stride"), arg("p_col_stride"),
        arg("R"), arg("norms"), arg("rows"), arg("cols"), arg("rank"), arg("column_axis"),
        arg("workspace"), arg("workspace_floats"), arg("threads"),
        "R = P^T X or X P in fp32, and the squared norms of X's canonical columns.");
  m.def("lowrank_update", &update, py::kw_only(), arg("W"), arg("w_dtype"), arg("w_row_stride"),
        arg("w_col_stride"), arg("P"), arg("p_dtype"), arg("p_row_stride"), arg("p_col_stride"),
        arg("D"), arg("X"), arg("x_dtype"), arg("x_row_stride"), arg("x_col_stride"), arg("coef"),
        arg("rows"), arg("cols"), arg("rank"), arg("column_axis"), arg("decay"), arg("workspace"),
        arg("workspace_floats"), arg("threads"),
        "W = decay * W + P D or D P^T + coef * X, rounded once.");
}

}  // namespace subkern
