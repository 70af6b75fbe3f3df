// Launches the moments stage of a low-rank Adam step: once for every kMomentsParams parameters.
#include <algorithm>

#include "fira_moments.cuh"
#include "launch.h"
#include "lowrank_adam.cuh"
#include "subkern/cuda/lowrank_adam.h"

namespace subkern {

namespace {

MomentsKind kind_of(Rule rule, int column_axis) {
  if (rule == kGalore) return kMomentsGalore;
  return column_axis == 1 ? kMomentsColumns : kMomentsRows;
}

// Moments that 16-byte accesses can walk: rows of a multiple of four elements at aligned addresses.
bool in_vectors(const CudaMomentsChunk& c) {
  const auto aligned = [](const float* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  return c.cols % 4 == 0 && std::all_of(c.exp_avg, c.exp_avg + c.count, aligned) &&
         std::all_of(c.exp_avg_sq, c.exp_avg_sq + c.count, aligned);
}

template <class T, bool kVector>
void launch(MomentsKind kind, const MomentsArguments& a, int64_t count, void* stream) {
  const MomentsGeometry geometry = moments_geometry(kind, a.rows, a.cols);
  const dim3 grid(static_cast<unsigned>(geometry.blocks), static_cast<unsigned>(count));
  if (kind == kMomentsGalore) {
    SK_LAUNCH((galore_moments_kernel<T, kVector>), grid, geometry.threads, 0, stream, a);
  } else if (kind == kMomentsColumns) {
    SK_LAUNCH((fira_columns_kernel<T, kVector>), grid, geometry.threads, 0, stream, a);
  } else {
    SK_LAUNCH((fira_rows_kernel<T, kVector>), grid, geometry.threads, 0, stream, a);
  }
}

void launch(MomentsKind kind, Dtype dtype, bool vectors, const MomentsArguments& a, int64_t count,
            void* stream) {
  if (dtype == kBFloat16) {
    vectors ? launch<bf16, true>(kind, a, count, stream)
            : launch<bf16, false>(kind, a, count, stream);
  } else {
    vectors ? launch<float, true>(kind, a, count, stream)
            : launch<float, false>(kind, a, count, stream);
  }
}

// What the parameters of a chunk share.
MomentsArguments arguments_of(const CudaMomentsChunk& c, const CudaAdamOptions& options) {
  MomentsArguments a{};
  a.rows = c.rows;
  a.cols = c.cols;
  a.ld = c.ld;
  a.columns = c.columns;
  a.partials_slice = c.count * c.rows * c.ld;
  a.squares_slice = c.count * c.columns;
  a.slices = static_cast<int32_t>(c.slices);
  a.square_slices = static_cast<int32_t>(c.square_slices);
  a.tiles = static_cast<int32_t>(c.tiles);
  a.adam = scalars_of(options);
  a.scale = static_cast<float>(c.scale);
  a.residual_scale = static_cast<float>(c.residual_scale);
  a.norm_eps = static_cast<float>(c.norm_eps);
  a.gamma = c.gamma;
  a.matrix_norm = c.matrix_norm;
  return a;
}

}  // namespace

int cuda_moments_params_per_launch() { return kMomentsParams; }

int64_t cuda_moments_block_sums(int64_t count, int64_t rows, int64_t cols, int column_axis,
                                Rule rule) {
  if (rule == kGalore) return 0;
  return 2 * count * moments_geometry(kind_of(rule, column_axis), rows, cols).blocks;
}

int cuda_lowrank_adam_moments(const CudaMomentsChunk& c, const CudaAdamOptions& options,
                              const CudaQueue& queue, int64_t* launches) {
  const DeviceScope scope(queue.device);
  if (scope.status() != 0) return scope.status();
  const MomentsKind kind = kind_of(c.rule, c.column_axis);
  const int64_t blocks = moments_geometry(kind, c.rows, c.cols).blocks;
  const bool vectors = in_vectors(c);
  MomentsArguments a = arguments_of(c, options);
  const int64_t item = c.dtype == kBFloat16 ? 2 : 4, matrix = c.rows * c.ld;
  for (int64_t begin = 0; begin < c.count; begin += kMomentsParams) {
    const int64_t count = std::min<int64_t>(c.count - begin, kMomentsParams);
    std::copy_n(c.exp_avg + begin, count, a.exp_avg);
    std::copy_n(c.exp_avg_sq + begin, count, a.exp_avg_sq);
    std::copy_n(c.step + begin, count, a.step);
    a.partials = c.partials + begin * matrix;
    a.tile_flags = c.tile_flags + begin * c.tiles;
    a.direction = static_cast<char*>(c.direction) + begin * matrix * item;
    a.scalars = c.scalars + 4 * begin;
    if (c.rule == kFira) {
      std::copy_n(c.limiter + begin, count, a.limiter);
      a.lowrank = static_cast<char*>(c.lowrank) + begin * matrix * item;
      a.squares = c.squares + begin * c.columns;
      a.counters = c.counters + begin;
      a.phi = c.phi + begin * c.columns;
      a.block_sums = c.block_sums + 2 * begin * blocks;
    }
    launch(kind, c.dtype, vectors, a, count, queue.stream);
    if (const int status = launch_status()) return status;
    ++*launches;
  }
  return 0;
}

}  // namespace subkern
