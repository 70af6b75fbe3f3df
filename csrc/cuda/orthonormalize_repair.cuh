// Failed columns of a matrix in shared memory: what is left of them, or unit vectors instead.
#pragma once

#include "orthonormalize_pass.cuh"

namespace subkern {

constexpr double kKept = 0x1p-19;  // 16 eps: a residual column above it has a direction of its own

// The sum over a block, in every thread, in a fixed order.
__device__ __forceinline__ double sum_of_warps(double x, double* partials) {
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) partials[threadIdx.x / kWarp] = x;
  __syncthreads();
  double sum = 0.0;
  for (unsigned w = 0; w < blockDim.x / kWarp; ++w) sum += partials[w];
  return sum;
}

__device__ __forceinline__ double column_norm(const float* column, int rows, double* partials) {
  double square = 0.0;
  for (int r = threadIdx.x; r < rows; r += static_cast<int>(blockDim.x)) {
    square = fma(static_cast<double>(column[r]), static_cast<double>(column[r]), square);
  }
  return sqrt(sum_of_warps(square, partials));
}

// Takes the columns that are not `open` out of column j; returns its norm. The coefficients are
// added to the second row of s.coefficients.
template <int K>
__device__ __forceinline__ double project_column(const SharedMatrix& Y, OrthonormalizeScratch<K>& s,
                                                 int j, unsigned long long open) {
  float* const column = Y.column(j);
  const int warps = static_cast<int>(blockDim.x) / kWarp, lane = threadIdx.x % kWarp;
  __syncthreads();
  for (int i = threadIdx.x / kWarp; i < Y.cols; i += warps) {
    if (has_bit(open, i)) continue;
    double dot = 0.0;
    for (int r = lane; r < Y.rows; r += kWarp) {
      dot = fma(static_cast<double>(Y.column(i)[r]), static_cast<double>(column[r]), dot);
    }
    dot = warp_sum(dot);
    if (lane == 0) {
      s.coefficients[0][i] = dot;
      s.coefficients[1][i] += dot;
    }
  }
  __syncthreads();
  for (int r = threadIdx.x; r < Y.rows; r += static_cast<int>(blockDim.x)) {
    double left = column[r];
    for (int i = 0; i < Y.cols; ++i) {
      const double q = Y.column(i)[r];
      if (!has_bit(open, i)) left = fma(-s.coefficients[0][i], q, left);
    }
    column[r] = static_cast<float>(left);
  }
  return column_norm(column, Y.rows, s.partials);
}

// The row in which the columns that are not `open` have the smallest norm; the first of equals.
template <int K>
__device__ __forceinline__ int least_leverage(const SharedMatrix& Y, OrthonormalizeScratch<K>& s,
                                              unsigned long long open) {
  double least = 0x1p1023;
  int row = Y.rows;
  for (int r = threadIdx.x; r < Y.rows; r += static_cast<int>(blockDim.x)) {
    double leverage = 0.0;
    for (int i = 0; i < Y.cols; ++i) {
      const double q = has_bit(open, i) ? 0.0 : Y.column(i)[r];
      leverage = fma(q, q, leverage);
    }
    if (leverage < least) least = leverage, row = r;
  }
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) {
    const double other = __shfl_xor_sync(0xffffffffu, least, apart);
    const int other_row = __shfl_xor_sync(0xffffffffu, row, apart);
    if (other < least || (other == least && other_row < row)) least = other, row = other_row;
  }
  __syncthreads();
  if (threadIdx.x % kWarp == 0) {
    s.partials[threadIdx.x / kWarp] = least;
    s.rows[threadIdx.x / kWarp] = row;
  }
  __syncthreads();
  for (unsigned w = 0; w < blockDim.x / kWarp; ++w) {
    if (s.partials[w] < least || (s.partials[w] == least && s.rows[w] < row)) {
      least = s.partials[w];
      row = s.rows[w];
    }
  }
  return row;
}

__device__ __forceinline__ void scale_column(float* column, int rows, double factor) {
  for (int r = threadIdx.x; r < rows; r += static_cast<int>(blockDim.x)) {
    column[r] = static_cast<float>(column[r] * factor);
  }
}

// All threads call, after a barrier. Ends with one.
template <int K>
__device__ __forceinline__ void repair_in_shared(const SharedMatrix& Y, OrthonormalizeScratch<K>& s,
                                                 double* R) {
  unsigned long long open = s.failed;
#pragma unroll 1
  for (int j = 0; j < Y.cols; ++j) {
    if (!has_bit(open, j)) continue;
    float* const column = Y.column(j);
    for (int i = threadIdx.x; i < K; i += static_cast<int>(blockDim.x)) s.coefficients[1][i] = 0.0;
    const double before = column_norm(column, Y.rows, s.partials);
    double norm = 0.0;
    for (int i = 0; i < 2; ++i) norm = project_column<K>(Y, s, j, open);
    const bool kept = norm > kKept * before;
    // Column j of what R is multiplied by: R keeps its triangle.
    for (int q = j + static_cast<int>(threadIdx.x); q < Y.cols; q += static_cast<int>(blockDim.x)) {
      const double entry = R[j * K + q];
      for (int i = 0; i < j; ++i) {
        if (!has_bit(open, i)) R[i * K + q] = fma(s.coefficients[1][i], entry, R[i * K + q]);
      }
      R[j * K + q] = kept ? norm * entry : 0.0;
    }
    if (!kept) {
      const int row = least_leverage<K>(Y, s, open);
      for (int r = threadIdx.x; r < Y.rows; r += static_cast<int>(blockDim.x)) {
        column[r] = r == row ? 1.0f : 0.0f;
      }
      for (int i = 0; i < 3; ++i) norm = project_column<K>(Y, s, j, open);
    }
    scale_column(column, Y.rows, 1.0 / norm);
    norm = project_column<K>(Y, s, j, open);
    scale_column(column, Y.rows, 1.0 / norm);
    open &= ~(1ull << j);
    __syncthreads();
  }
}

}  // namespace subkern
