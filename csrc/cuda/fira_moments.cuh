// Fira's share of lowrank_adam.cuh: norms of the columns or rows of R, phi, the limiter.
#pragma once

#include "lowrank_adam.cuh"

namespace subkern {

// Residual energy below this share of a column's energy is round-off, not signal.
constexpr double kResidualFloor = 1e-6;

// ||N_j|| / (||R_j|| + norm_eps) from the squares; 0 where R_j = 0.
__device__ __forceinline__ double phi_of(double nn, double rr, float norm_eps) {
  return rr == 0.0 ? 0.0 : sqrt(nn) / (sqrt(rr) + norm_eps);
}

// ||X_j - a P R_j||^2 for an orthonormal basis; a NaN passes.
__device__ __forceinline__ double residual_energy(double xx, double rr, float a) {
  const double energy = xx + rr * a * (a - 2.0);
  return energy < kResidualFloor * xx || energy < 0.0 ? 0.0 : energy;
}

// ||X_j||^2: the partial sums of column j of the block's parameter, in order.
__device__ __forceinline__ double column_square(const MomentsArguments& a, int64_t j) {
  const float* const squares = a.squares + static_cast<int64_t>(blockIdx.y) * a.columns + j;
  double sum = 0.0;
  for (int slice = 0; slice < a.square_slices; ++slice) sum += squares[slice * a.squares_slice];
  return sum;
}

// phi of a canonical column of R, written out; returns its share of the limiter's energy.
__device__ __forceinline__ float finish_column(const MomentsArguments& a, int64_t j, float nn,
                                               float rr) {
  const double phi = phi_of(nn, rr, a.norm_eps);
  a.phi[static_cast<int64_t>(blockIdx.y) * a.columns + j] = static_cast<float>(phi);
  return static_cast<float>(phi * phi * residual_energy(column_square(a, j), rr, a.residual_scale));
}

// The factor on the residual; remembers the norm that was let through.
__device__ __forceinline__ float limit(const MomentsArguments& a, double norm) {
  float* const previous = a.limiter[blockIdx.y];
  if (!(*previous > 0.0f)) {  // unset; so is a NaN
    *previous = static_cast<float>(norm);
    return 1.0f;
  }
  const double growth = norm / (*previous + a.norm_eps);
  const double excess = (growth < a.gamma ? a.gamma : growth) / a.gamma;
  *previous = static_cast<float>(norm / excess);
  return static_cast<float>(1.0 / excess);
}

// The end of a block, for all its threads: thread 0 brings the block's sums (energy, or those of
// N^2 and R^2 when matrix_norm); the parameter's last block turns all of them into phi and limiter.
__device__ __forceinline__ void finish_block(const MomentsArguments& a, const StepFactors& factors,
                                             float first, float second, double* buffer) {
  SK_SHARED(bool, last, 1);
  float* const all = a.block_sums + 2 * static_cast<int64_t>(blockIdx.y) * gridDim.x;
  if (threadIdx.x == 0) {
    all[2 * static_cast<int64_t>(blockIdx.x)] = first;
    all[2 * static_cast<int64_t>(blockIdx.x) + 1] = second;
    last[0] = arrives_last(a.counters + blockIdx.y, static_cast<int32_t>(gridDim.x));
  }
  __syncthreads();
  if (!last[0]) return;
  double total = 0.0, total_rr = 0.0, total_xx = 0.0;
  for (int64_t b = threadIdx.x; b < gridDim.x; b += blockDim.x) {
    total += fresh(all + 2 * b);
    if (a.matrix_norm) total_rr += fresh(all + 2 * b + 1);
  }
  total = block_sum(total, buffer);
  if (a.matrix_norm) {
    for (int64_t j = threadIdx.x; j < a.columns; j += blockDim.x) total_xx += column_square(a, j);
    total_rr = block_sum(total_rr, buffer);
    total_xx = block_sum(total_xx, buffer);
  }
  if (threadIdx.x != 0) return;
  double energy = total;
  if (a.matrix_norm) {
    const double phi = phi_of(total, total_rr, a.norm_eps);
    a.phi[static_cast<int64_t>(blockIdx.y) * a.columns] = static_cast<float>(phi);
    energy = phi * phi * residual_energy(total_xx, total_rr, a.residual_scale);
  }
  write_scalars(a, factors, limit(a, sqrt(energy)), false);
}

// Left and full: a block adds up a strip of columns, its warps in turn 4 rows each.
template <class T, bool kVector>
__global__ void __launch_bounds__(kColumnsWarps* kWarp, 2)
    fira_columns_kernel(const __grid_constant__ MomentsArguments a) {
  SK_SHARED(StepFactors, factors, 1);
  SK_SHARED(float, n_groups, 4 * kColumnsWarps * kColumnsStrip);  // sums of N^2 per row group
  SK_SHARED(float, r_groups, 4 * kColumnsWarps * kColumnsStrip);  // and of R^2
  SK_SHARED(double, buffer, kColumnsWarps* kWarp);
  if (start_moments(a, factors[0])) {
    if (blockIdx.x == 0 && threadIdx.x == 0) write_scalars(a, factors[0], 1.0f, true);
    return;
  }
  const Moments<T> x(a);
  T* const lowrank = static_cast<T*>(a.lowrank) + x.offset;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp;
  // Either way a thread's element e belongs to row group `group`, column `strip` of the block.
  const int group = 4 * warp + (kVector ? lane / 8 : 0), strip = kVector ? lane % 8 * 4 : lane;
  const int64_t from = static_cast<int64_t>(blockIdx.x) * kColumnsStrip;
  float nn[4] = {}, rr[4] = {};
  for (int64_t row = group; row < a.rows; row += 4 * warps) {
    const Quad<kVector, 1, 0> quad{row, from + strip, a.rows, a.cols};
    float r[4] = {}, n[4];
    x.advance(a, quad, r, n);
    quad.store(x.direction, a.ld, n);
    quad.store(lowrank, a.ld, r);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (quad.has(e)) nn[e] = fmaf(n[e], n[e], nn[e]), rr[e] = fmaf(r[e], r[e], rr[e]);
    }
  }
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const int at = (group + (kVector ? 0 : e)) * kColumnsStrip + strip + (kVector ? e : 0);
    n_groups[at] = nn[e];
    r_groups[at] = rr[e];
  }
  __syncthreads();
  float first = 0.0f, second = 0.0f;
  if (warp == 0) {
    float n_sum = 0.0f, r_sum = 0.0f;
    for (int g = 0; g < 4 * warps; ++g) {
      n_sum += n_groups[g * kColumnsStrip + lane];
      r_sum += r_groups[g * kColumnsStrip + lane];
    }
    const bool inside = from + lane < a.cols;
    first = n_sum, second = r_sum;
    if (!a.matrix_norm) {
      first = inside ? finish_column(a, from + lane, n_sum, r_sum) : 0.0f;
      second = 0.0f;
    }
    first = warp_sum(first);
    second = warp_sum(second);
  }
  finish_block(a, factors[0], first, second, buffer);
}

// Right: a warp adds up a row.
template <class T, bool kVector>
__global__ void __launch_bounds__(kRowsWarps* kWarp)
    fira_rows_kernel(const __grid_constant__ MomentsArguments a) {
  SK_SHARED(StepFactors, factors, 1);
  SK_SHARED(float, of_warps, 2 * kRowsWarps);
  SK_SHARED(double, buffer, kRowsWarps* kWarp);
  if (start_moments(a, factors[0])) {
    if (blockIdx.x == 0 && threadIdx.x == 0) write_scalars(a, factors[0], 1.0f, true);
    return;
  }
  const Moments<T> x(a);
  T* const lowrank = static_cast<T*>(a.lowrank) + x.offset;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  float first = 0.0f, second = 0.0f;
  for (int k = 0; k < kRowsPerWarp; ++k) {
    const int64_t row = (static_cast<int64_t>(blockIdx.x) * kRowsPerWarp + k) * kRowsWarps + warp;
    if (row >= a.rows) break;
    float nn = 0.0f, rr = 0.0f;
    for (int64_t col = 4 * lane; col < a.cols; col += kRun) {
      const Quad<kVector, 0, 1> quad{row, col, a.rows, a.cols};
      float r[4] = {}, n[4];
      x.advance(a, quad, r, n);
      quad.store(x.direction, a.ld, n);
      quad.store(lowrank, a.ld, r);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (quad.has(e)) nn = fmaf(n[e], n[e], nn), rr = fmaf(r[e], r[e], rr);
      }
    }
    __syncwarp();
    nn = warp_sum(nn);
    rr = warp_sum(rr);
    if (a.matrix_norm) {
      first += nn, second += rr;
    } else if (lane == 0) {
      first += finish_column(a, row, nn, rr);
    }
  }
  if (lane == 0) of_warps[2 * warp] = first, of_warps[2 * warp + 1] = second;
  __syncthreads();
  if (threadIdx.x == 0) {
    first = second = 0.0f;
    for (int w = 0; w < kRowsWarps; ++w) first += of_warps[2 * w], second += of_warps[2 * w + 1];
  }
  finish_block(a, factors[0], first, second, buffer);
}

}  // namespace subkern
