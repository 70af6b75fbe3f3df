// Rare paths on matrices in device memory, row by row: columns made one after the other, and the
// factor of a Gram matrix with failed pivots. Where a device flag says so; else nothing happens.
#pragma once

#include "orthonormalize_repair.cuh"

namespace subkern {

// The matrix of a block, and what its threads share.
struct RepairColumn {
  const float* Q;
  float* column;
  double *coefficients, *partials;
  int64_t rows;
  int cols, j;

  // Coefficients of the column in those before it; lanes = columns, warps share the rows.
  __device__ __forceinline__ void dots(double* sums) const {
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    for (int at = 0; at < j; at += kWarp) {
      double dot = 0.0;
      if (at + lane < j) {
#pragma unroll 8
        for (int64_t r = warp; r < rows; r += kRepairWarps) {
          dot = fma(static_cast<double>(Q[r * cols + at + lane]), static_cast<double>(column[r]),
                    dot);
        }
      }
      sums[threadIdx.x] = dot;
      __syncthreads();
      if (warp == 0 && at + lane < j) {
        double sum = 0.0;
        for (int w = 0; w < kRepairWarps; ++w) sum += sums[w * kWarp + lane];
        coefficients[at + lane] = sum;
      }
      __syncthreads();
    }
  }

  // Takes the columns before it out of the column; returns its norm. A warp takes a row.
  __device__ __forceinline__ double project(double* sums) const {
    __syncthreads();
    dots(sums);
    const int lane = threadIdx.x % kWarp;
    double square = 0.0;
    for (int64_t r = threadIdx.x / kWarp; r < rows; r += kRepairWarps) {
      double taken = 0.0;
      for (int i = lane; i < j; i += kWarp) {
        taken = fma(coefficients[i], static_cast<double>(Q[r * cols + i]), taken);
      }
      taken = warp_sum(taken);
      if (lane == 0) {
        const float left = static_cast<float>(column[r] - taken);
        column[r] = left;
        square = fma(static_cast<double>(left), static_cast<double>(left), square);
      }
    }
    return sqrt(sum_of_warps(square, partials));
  }

  __device__ __forceinline__ int least_leverage(int* rows_shared) const {
    const int lane = threadIdx.x % kWarp;
    double least = 0x1p1023;
    int row = 0x7fffffff;
    for (int64_t r = threadIdx.x / kWarp; r < rows; r += kRepairWarps) {
      double leverage = 0.0;
      for (int i = lane; i < j; i += kWarp) {
        const double q = Q[r * cols + i];
        leverage = fma(q, q, leverage);
      }
      leverage = warp_sum(leverage);
      if (leverage < least) least = leverage, row = static_cast<int>(r);
    }
    return least_of_block(least, row, partials, rows_shared);
  }

  __device__ __forceinline__ void scale(double factor) const {
    for (int64_t r = threadIdx.x; r < rows; r += kRepairThreads) {
      column[r] = static_cast<float>(column[r] * factor);
    }
  }
};

__device__ __forceinline__ float entry_of(const RepairArguments& a, int64_t at) {
  return a.narrow ? widen(static_cast<const bf16*>(a.Y)[at]) : static_cast<const float*>(a.Y)[at];
}

// As repair_in_shared, from the columns of Y. A block per matrix.
__global__ void __launch_bounds__(kRepairThreads, 1)
    orthonormalize_repair_kernel(const __grid_constant__ RepairArguments a) {
  SK_SHARED(double, sums, kRepairThreads);
  SK_SHARED(double, partials, kRepairWarps);
  SK_SHARED(int, least_rows, kRepairWarps);
  const int64_t matrix = blockIdx.x;
  float* const Q = a.Q + matrix * a.rows * a.cols;
  double* const R = a.R + matrix * a.R_stride;
  float* const column = a.column + matrix * a.rows;
  double* const coefficients = a.coefficients + matrix * a.cols;
#pragma unroll 1
  for (int j = a.first[matrix * a.first_stride]; j < a.cols; ++j) {
    const RepairColumn at{Q, column, coefficients, partials, a.rows, a.cols, j};
    const int exponent = a.exponent[matrix * a.exponent_stride + j];
    double square = 0.0;
    for (int64_t r = threadIdx.x; r < a.rows; r += kRepairThreads) {
      const int64_t from = matrix * a.matrix_stride + r * a.row_stride + j * a.col_stride;
      const float y = ldexpf(entry_of(a, from), -exponent);
      column[r] = y;
      square = fma(static_cast<double>(y), static_cast<double>(y), square);
    }
    const double before = sqrt(sum_of_warps(square, partials));
    double norm = 0.0;
#pragma unroll 1
    for (int pass = 0; pass < 2; ++pass) {
      norm = at.project(sums);
      for (int i = threadIdx.x; i < j; i += kRepairThreads) {
        double* const entry = R + static_cast<int64_t>(i) * a.R_pitch + j;
        *entry = pass == 0 ? coefficients[i] : *entry + coefficients[i];
      }
    }
    const bool kept = norm > kKept * before;
    if (threadIdx.x == 0) R[static_cast<int64_t>(j) * a.R_pitch + j] = kept ? norm : 0.0;
    if (!kept) {
      const int row = at.least_leverage(least_rows);
      for (int64_t r = threadIdx.x; r < a.rows; r += kRepairThreads)
        column[r] = r == row ? 1.0f : 0.0f;
#pragma unroll 1
      for (int pass = 0; pass < 3; ++pass) norm = at.project(sums);
    }
    at.scale(1.0 / norm);
    norm = at.project(sums);
    at.scale(1.0 / norm);
    for (int64_t r = threadIdx.x; r < a.rows; r += kRepairThreads) Q[r * a.cols + j] = column[r];
    __syncthreads();
  }
}

// R^T R = G on the good columns. A block per matrix, row after row.
__global__ void __launch_bounds__(kRepairThreads, 1)
    orthonormalize_cholesky_kernel(const __grid_constant__ CholeskyArguments a) {
  SK_SHARED(double, sums, kRepairThreads);
  const int64_t matrix = blockIdx.x, size = static_cast<int64_t>(a.cols) * a.cols;
  if (a.wanted[matrix] == 0) return;
  const double* const G = a.G + matrix * size;
  double* const R = a.R + matrix * size;
  uint8_t* const good = a.good + matrix * a.cols;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
#pragma unroll 1
  for (int j = 0; j < a.cols; ++j) {
    const double* const from = G + static_cast<int64_t>(j) * a.cols;
    double* const row = R + static_cast<int64_t>(j) * a.cols;
    // Lanes = columns from j on, warps share the rows above.
    for (int at = j; at < a.cols; at += kWarp) {
      const int c = at + lane;
      double sum = 0.0;
      if (c < a.cols) {
#pragma unroll 4
        for (int l = warp; l < j; l += kRepairWarps) {
          sum = fma(R[static_cast<int64_t>(l) * a.cols + j],
                    R[static_cast<int64_t>(l) * a.cols + c], sum);
        }
      }
      sums[threadIdx.x] = sum;
      __syncthreads();
      if (warp == 0 && c < a.cols) {
        double left = from[c];
        for (int w = 0; w < kRepairWarps; ++w) left -= sums[w * kWarp + lane];
        row[c] = left;
      }
      __syncthreads();
    }
    const double pivot = row[j];
    const bool passes = good[j] != 0 && pivot > a.threshold * from[j];
    const double factor = passes ? 1.0 / sqrt(pivot) : 0.0;
    __syncthreads();
    for (int c = threadIdx.x; c < a.cols; c += kRepairThreads) {
      row[c] = c < j ? 0.0 : row[c] * factor;
    }
    if (threadIdx.x == 0 && !passes) good[j] = 0;
    __syncthreads();
  }
}

}  // namespace subkern
