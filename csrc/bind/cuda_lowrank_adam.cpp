// Binding of the stage between the products of a low-rank Adam step on a CUDA device.
#include "cuda_bindings.h"
#include "subkern/cuda/lowrank_adam.h"

namespace subkern {
namespace {

LaunchCounter lowrank_adam_moments_launches("lowrank_adam_moments");

Rule to_rule(const Check& check, int rule) {
  if (rule != kGalore && rule != kFira)
    check.fail("rule", "be 0 (galore) or 1 (fira)", std::to_string(rule));
  return static_cast<Rule>(rule);
}

std::int64_t block_sums_floats(std::int64_t count, std::int64_t rows, std::int64_t cols,
                               int column_axis, int rule) {
  const Check check("lowrank_adam_block_sums");
  check.size("count", count);
  check.elements("rows", rows, "cols", cols);
  check.one_of_two("column_axis", column_axis);
  return cuda_moments_block_sums(count, rows, cols, column_axis, to_rule(check, rule));
}

// What Fira's parameters need beyond GaLore's.
void check_fira(const Check& check, CudaMomentsChunk& chunk, const Addresses& limiter,
                std::int64_t block_sums_floats) {
  const std::size_t count = static_cast<std::size_t>(chunk.count);
  const bool some = count > 0;
  check.pointers("limiter", limiter, count);
  check.pointer("lowrank", reinterpret_cast<Address>(chunk.lowrank), some);
  check.pointer("squares", reinterpret_cast<Address>(chunk.squares), some);
  check.pointer("counters", reinterpret_cast<Address>(chunk.counters), some);
  check.pointer("phi", reinterpret_cast<Address>(chunk.phi), some);
  if (chunk.square_slices < 1) {
    check.fail("square_slices", "be at least 1", std::to_string(chunk.square_slices));
  }
  const std::int64_t r_columns = chunk.column_axis == 1 ? chunk.cols : chunk.rows;
  if (!chunk.matrix_norm && chunk.columns != r_columns) {
    check.fail("columns", "equal the canonical columns of R (" + std::to_string(r_columns) + ")",
               std::to_string(chunk.columns));
  }
  if (chunk.columns < 1) check.fail("columns", "be at least 1", std::to_string(chunk.columns));
  if (!(chunk.gamma > 0.0)) check.fail("gamma", "be positive", std::to_string(chunk.gamma));
  const std::int64_t needed =
      cuda_moments_block_sums(chunk.count, chunk.rows, chunk.cols, chunk.column_axis, kFira);
  if (block_sums_floats < needed) {
    check.fail("block_sums_floats", "be at least " + std::to_string(needed),
               std::to_string(block_sums_floats));
  }
  check.pointer("block_sums", reinterpret_cast<Address>(chunk.block_sums), needed > 0);
}

void moments(const Addresses& exp_avg, const Addresses& exp_avg_sq, const Addresses& step,
             const Addresses& limiter, std::int64_t rows, std::int64_t cols, std::int64_t ld,
             int column_axis, int dtype, int rule, Address partials, std::int64_t slices,
             Address tile_flags, std::int64_t tiles, Address direction, Address lowrank,
             Address squares, std::int64_t square_slices, std::int64_t columns, Address counters,
             Address phi, Address scalars, Address block_sums, std::int64_t block_sums_floats,
             double lr, Address lr_address, double beta1, double beta2, double eps,
             double weight_decay, bool post_decay, bool correct_bias, bool skip_nonfinite,
             double scale, double gamma, double norm_eps, double residual_scale, bool matrix_norm,
             int device, Address stream) {
  const Check check("lowrank_adam_moments");
  const std::size_t count = exp_avg.size();
  const bool some = count > 0;
  if (check.elements("rows", rows, "cols", cols) == 0) {
    check.fail(rows == 0 ? "rows" : "cols", "be at least 1", "0");
  }
  // 16-byte accesses start at every fourth column of a scratch row.
  if (ld < cols || ld % 4 != 0) {
    check.fail("ld", "be a multiple of 4 and at least cols", std::to_string(ld));
  }
  check.pointers("exp_avg", exp_avg, count);
  check.pointers("exp_avg_sq", exp_avg_sq, count);
  check.pointers("step", step, count);
  check.one_of_two("column_axis", column_axis);
  const Dtype type = check.dtype("dtype", dtype);
  const Rule kind = to_rule(check, rule);
  const std::pair<const char*, Address> buffers[] = {
      {"partials", partials}, {"direction", direction}, {"scalars", scalars}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, some);
  const std::pair<const char*, Address> matrices[] = {
      {"partials", partials}, {"direction", direction}, {"lowrank", lowrank}};
  for (const auto& [name, address] : matrices) {
    if (address % 16 != 0) check.fail(name, "be aligned to 16 bytes", std::to_string(address));
  }
  if (slices < 1) check.fail("slices", "be at least 1", std::to_string(slices));
  check.size("tiles", tiles);
  check.pointer("tile_flags", tile_flags, some && skip_nonfinite && tiles > 0);

  const auto first = as_pointers<float>(exp_avg), second = as_pointers<float>(exp_avg_sq);
  const auto steps = as_pointers<float>(step), limiters = as_pointers<float>(limiter);
  CudaMomentsChunk chunk{};
  chunk.count = static_cast<std::int64_t>(count);
  chunk.exp_avg = first.data();
  chunk.exp_avg_sq = second.data();
  chunk.step = steps.data();
  chunk.limiter = limiters.data();
  chunk.rows = rows;
  chunk.cols = cols;
  chunk.ld = ld;
  chunk.column_axis = column_axis;
  chunk.dtype = type;
  chunk.rule = kind;
  chunk.partials = as<const float>(partials);
  chunk.slices = slices;
  chunk.tile_flags = as<const std::int32_t>(tile_flags);
  chunk.tiles = tiles;
  chunk.direction = as<void>(direction);
  chunk.scalars = as<float>(scalars);
  chunk.scale = scale;
  if (kind == kFira) {
    chunk.lowrank = as<void>(lowrank);
    chunk.squares = as<const float>(squares);
    chunk.square_slices = square_slices;
    chunk.columns = columns;
    chunk.counters = as<std::int32_t>(counters);
    chunk.phi = as<float>(phi);
    chunk.block_sums = as<float>(block_sums);
    chunk.gamma = gamma;
    chunk.norm_eps = norm_eps;
    chunk.residual_scale = residual_scale;
    chunk.matrix_norm = matrix_norm;
    check_fira(check, chunk, limiter, block_sums_floats);
  }
  const CudaAdamOptions options{lr,
                                as<const float>(lr_address),
                                beta1,
                                beta2,
                                eps,
                                weight_decay,
                                post_decay,
                                correct_bias,
                                skip_nonfinite};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_lowrank_adam_moments(chunk, options, queue, &launches);
  }
  lowrank_adam_moments_launches += launches;
  check_status("lowrank_adam_moments", status);
}

}  // namespace

void bind_cuda_lowrank_adam(py::module_& m) {
  using py::arg;
  m.attr("moments_params_per_launch") = cuda_moments_params_per_launch();
  m.def("lowrank_adam_block_sums", &block_sums_floats, py::kw_only(), arg("count"), arg("rows"),
        arg("cols"), arg("column_axis"), arg("rule"),
        "Floats of block_sums that lowrank_adam_moments needs.");
  m.def("lowrank_adam_moments", &moments, py::kw_only(), arg("exp_avg"), arg("exp_avg_sq"),
        arg("step"), arg("limiter"), arg("rows"), arg("cols"), arg("ld"), arg("column_axis"),
        arg("dtype"), arg("rule"), arg("partials"), arg("slices"), arg("tile_flags"), arg("tiles"),
        arg("direction"), arg("lowrank"), arg("squares"), arg("square_slices"), arg("columns"),
        arg("counters"), arg("phi"), arg("scalars"), arg("block_sums"), arg("block_sums_floats"),
        arg("lr"), arg("lr_address"), arg("beta1"), arg("beta2"), arg("eps"), arg("weight_decay"),
        arg("post_decay"), arg("correct_bias"), arg("skip_nonfinite"), arg("scale"), arg("gamma"),
        arg("norm_eps"), arg("residual_scale"), arg("matrix_norm"), arg("device"), arg("stream"),
        "Moments, direction and Fira's factors of a chunk of projected gradients.");
}

}  // namespace subkern
