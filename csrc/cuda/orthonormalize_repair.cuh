// Columns of a matrix in shared memory, from the first failed one on, made one after the other.
#pragma once

#include "orthonormalize_pass.cuh"

namespace subkern {

constexpr double kKept = 0x1p-22;  // what is left of a column, above it, has a direction of its own

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

// The row of the smallest leverage in the block, the first of equals; `row` is this thread's.
__device__ __forceinline__ int least_of_block(double least, int row, double* partials, int* rows) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) {
    const double other = __shfl_xor_sync(0xffffffffu, least, apart);
    const int other_row = __shfl_xor_sync(0xffffffffu, row, apart);
    if (other < least || (other == least && other_row < row)) least = other, row = other_row;
  }
  __syncthreads();
  if (threadIdx.x % kWarp == 0) {
    partials[threadIdx.x / kWarp] = least;
    rows[threadIdx.x / kWarp] = row;
  }
  __syncthreads();
  for (unsigned w = 0; w < blockDim.x / kWarp; ++w) {
    if (partials[w] < least || (partials[w] == least && rows[w] < row)) {
      least = partials[w];
      row = rows[w];
    }
  }
  return row;
}

__device__ __forceinline__ double column_norm(const float* column, int rows, double* partials) {
  double square = 0.0;
  for (int r = threadIdx.x; r < rows; r += static_cast<int>(blockDim.x)) {
    square = fma(static_cast<double>(column[r]), static_cast<double>(column[r]), square);
  }
  return sqrt(sum_of_warps(square, partials));
}

// Takes the columns before j out of column j; returns its norm. The coefficients are added to the
// second row of s.coefficients.
template <int K>
__device__ __forceinline__ double project_column(const SharedMatrix& Y, OrthonormalizeScratch<K>& s,
                                                 int j) {
  float* const column = Y.column(j);
  const int warps = static_cast<int>(blockDim.x) / kWarp, lane = threadIdx.x % kWarp;
  __syncthreads();
  for (int i = threadIdx.x / kWarp; i < j; i += warps) {
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
    for (int i = 0; i < j; ++i) {
      left = fma(-s.coefficients[0][i], static_cast<double>(Y.column(i)[r]), left);
    }
    column[r] = static_cast<float>(left);
  }
  return column_norm(column, Y.rows, s.partials);
}

// The row in which the columns before j have the smallest norm.
template <int K>
__device__ __forceinline__ int least_leverage(const SharedMatrix& Y, OrthonormalizeScratch<K>& s,
                                              int j) {
  double least = 0x1p1023;
  int row = Y.rows;
  for (int r = threadIdx.x; r < Y.rows; r += static_cast<int>(blockDim.x)) {
    double leverage = 0.0;
    for (int i = 0; i < j; ++i) {
      const double q = Y.column(i)[r];
      leverage = fma(q, q, leverage);
    }
    if (leverage < least) least = leverage, row = r;
  }
  return least_of_block(least, row, s.partials, s.rows);
}

__device__ __forceinline__ void scale_column(float* column, int rows, double factor) {
  for (int r = threadIdx.x; r < rows; r += static_cast<int>(blockDim.x)) {
    column[r] = static_cast<float>(column[r] * factor);
  }
}

// A failed column becomes what is left of it, or where that is nothing the unit vector of the row
// that its predecessors use least. Good columns after it are made again, because the direction that
// is left of it may be theirs, and R must stay triangular. All threads call, after a barrier; ends
// with one.
template <int K>
__device__ __forceinline__ void repair_in_shared(const SharedMatrix& Y, OrthonormalizeScratch<K>& s,
                                                 double* R) {
  int first = 0;
  while (!has_bit(s.failed, first)) ++first;
#pragma unroll 1
  for (int j = first; j < Y.cols; ++j) {
    float* const column = Y.column(j);
    for (int i = threadIdx.x; i < K; i += static_cast<int>(blockDim.x)) s.coefficients[1][i] = 0.0;
    const double before = column_norm(column, Y.rows, s.partials);
    double norm = 0.0;
#pragma unroll 1
    for (int i = 0; i < 2; ++i) norm = project_column<K>(Y, s, j);
    const bool kept = norm > kKept * before;
    // R is multiplied from the left by the identity with these coefficients in column j.
    for (int q = j + static_cast<int>(threadIdx.x); q < Y.cols; q += static_cast<int>(blockDim.x)) {
      const double entry = R[j * K + q];
      for (int i = 0; i < j; ++i) R[i * K + q] = fma(s.coefficients[1][i], entry, R[i * K + q]);
      R[j * K + q] = kept ? norm * entry : 0.0;
    }
    if (!kept) {
      const int row = least_leverage<K>(Y, s, j);
      for (int r = threadIdx.x; r < Y.rows; r += static_cast<int>(blockDim.x)) {
        column[r] = r == row ? 1.0f : 0.0f;
      }
#pragma unroll 1
      for (int i = 0; i < 3; ++i) norm = project_column<K>(Y, s, j);
    }
    scale_column(column, Y.rows, 1.0 / norm);
    norm = project_column<K>(Y, s, j);
    scale_column(column, Y.rows, 1.0 / norm);
    __syncthreads();
  }
}

}  // namespace subkern
