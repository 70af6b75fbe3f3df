// The stage of a low-rank Adam step between its products, on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"
#include "subkern/lowrank_adam.h"

namespace subkern {

// A chunk of `count` parameters of equal shape. R is rows x cols; scratch rows are `ld` long.
// The first four point to `count` addresses on the host; everything else is on the device.
struct CudaMomentsChunk {
  int64_t count;
  float* const* exp_avg;     // rows x cols, contiguous; written
  float* const* exp_avg_sq;  // written
  float* const* step;        // counts before this step; read
  float* const* limiter;     // fira: previous norm, <= 0 means unset; written
  int64_t rows, cols, ld;
  int column_axis;  // canonical columns are columns (1) or rows (0) of R
  Dtype dtype;      // of direction and lowrank
  Rule rule;
  const float* partials;  // slices x count x rows x ld: R is their sum in order
  int64_t slices;
  const int32_t* tile_flags;  // count x tiles, nonzero where R is not finite
  int64_t tiles;
  void* direction;  // count x rows x ld; galore: -eta scale N, fira: N
  float* scalars;   // count x 4: eta, decay factor, factor on the residual, skipped (0 or 1)
  double scale;
  // Only Fira reads what follows.
  void* lowrank;         // count x rows x ld: R
  const float* squares;  // square_slices x count x columns: partial sums of |X_j|^2
  int64_t square_slices;
  int64_t columns;    // canonical columns of the gradient X
  int32_t* counters;  // count; zero
  float* phi;         // count x columns; with matrix_norm only the first of each
  float* block_sums;  // cuda_moments_block_sums() floats
  double gamma;
  double norm_eps;
  double residual_scale;
  bool matrix_norm;  // one phi for the whole matrix
};

// Parameters that share a launch: one launch for a chunk of no more.
int cuda_moments_params_per_launch();

// Floats of block_sums that cuda_lowrank_adam_moments needs.
int64_t cuda_moments_block_sums(int64_t count, int64_t rows, int64_t cols, int column_axis,
                                Rule rule);

// Moments, direction; fira: norms, phi, limiter. Returns a status for cuda_status_text.
// `launches` grows by one for every kernel.
int cuda_lowrank_adam_moments(const CudaMomentsChunk& chunk, const CudaAdamOptions& options,
                              const CudaQueue& queue, int64_t* launches);

}  // namespace subkern
