// Orthonormal columns of tall matrices: blocks share the rows, a block of its own factors.
#pragma once

#include "orthonormalize_pass.cuh"

namespace subkern {

// By all threads; the block must synchronize before it reads.
template <class T>
__device__ __forceinline__ void copy_words(const T& from, T& to) {
  static_assert(sizeof(T) % sizeof(int) == 0, "whole words");
  for (int i = threadIdx.x; i < static_cast<int>(sizeof(T) / sizeof(int));
       i += static_cast<int>(blockDim.x)) {
    reinterpret_cast<int*>(&to)[i] = reinterpret_cast<const int*>(&from)[i];
  }
}

// Stage 0: Gram matrix of Y. Stages 1 to 3: Q <- Y or Q divided by the last factor, and its Gram
// matrix where a stage follows; stage 3 only where it is needed.
template <int K>
__global__ void __launch_bounds__(kSplitThreads, 2)
    orthonormalize_slice_kernel(const __grid_constant__ SplitArguments a, int stage) {
  SK_DYNAMIC_SHARED(SliceShared<K>, shared);
  const int64_t matrix = blockIdx.x;
  const int slice = blockIdx.y, threads = static_cast<int>(blockDim.x);
  const OrthonormalizeState<K>& state = static_cast<OrthonormalizeState<K>*>(a.states)[matrix];
  if (stage > 0) {
    if (state.columns.nonfinite != 0 || (stage == 3 && state.columns.again == 0)) return;
    copy_words(state.columns, shared->columns);
    for (int e = threadIdx.x; e < K * K; e += threads) shared->packed[e] = state.packed[e];
  }
  const bool sums = stage < 2 || (stage == 2 && state.columns.again != 0);
  const int64_t step = static_cast<int64_t>(a.slices) * a.chunk_rows;
  const int64_t start = static_cast<int64_t>(slice) * a.chunk_rows;
  for (int64_t row = start; row < a.rows; row += step) {
    const int rows = static_cast<int>(a.rows - row < a.chunk_rows ? a.rows - row : a.chunk_rows);
    const SharedMatrix Y{reinterpret_cast<float*>(shared + 1), rows, a.cols,
                         static_cast<int>(shared_pitch(a.chunk_rows, K))};
    float* const Q = a.Q + (matrix * a.rows + row) * a.cols;
    const int64_t from = matrix * a.matrix_stride + row * a.row_stride;
    __syncthreads();
    if (stage > 1) {
      load_shared<float>({Q, a.cols, 1}, Y);
    } else if (a.narrow) {
      load_shared<bf16>({static_cast<const bf16*>(a.Y) + from, a.row_stride, a.col_stride}, Y);
    } else {
      load_shared<float>({static_cast<const float*>(a.Y) + from, a.row_stride, a.col_stride}, Y);
    }
    __syncthreads();
    if (stage > 0) {
      divide_in_shared<K>(Y, shared->columns, shared->packed, stage == 1);
      __syncthreads();
      store_shared(Y, Q);
    }
    if (sums) gram_in_shared<K>(Y, shared->sums, row != start);
  }
  if (!sums) return;
  __syncthreads();
  double* const to = a.sums + (matrix * a.slices + slice) * GramSums<K>::kCount;
  for (int e = threadIdx.x; e < GramSums<K>::kCount; e += threads) to[e] = shared->sums[e];
}

// A block per matrix: adds up the slices' sums and factors.
template <int K>
__global__ void __launch_bounds__(kSplitThreads, 2)
    orthonormalize_factor_kernel(const __grid_constant__ SplitArguments a, int stage) {
  SK_DYNAMIC_SHARED(OrthonormalizeScratch<K>, scratch);
  const int64_t matrix = blockIdx.x;
  const int threads = static_cast<int>(blockDim.x);
  OrthonormalizeState<K>& state = static_cast<OrthonormalizeState<K>*>(a.states)[matrix];
  OrthonormalizeColumns<K>& columns = *scratch;
  if (stage > 0) {
    if (state.columns.nonfinite != 0 || (stage == 2 && state.columns.again == 0)) return;
    copy_words(state.columns, columns);
  } else if (threadIdx.x == 0) {
    columns.failed = 0;
    columns.nonfinite = 0;
  }
  double *const sums = scratch->buffers[0], *const step = scratch->buffers[1],
                *const before = scratch->buffers[2];
  const double* const from = a.sums + matrix * a.slices * GramSums<K>::kCount;
  for (int e = threadIdx.x; e < GramSums<K>::kCount; e += threads) {
    double sum = 0.0;
    for (int s = 0; s < a.slices; ++s) sum += from[s * GramSums<K>::kCount + e];
    sums[e] = sum;
  }
  if (stage > 0) {
    for (int e = threadIdx.x; e < a.cols * K; e += threads) before[e] = state.R[e];
  }
  __syncthreads();
  if (K > kWarp || threadIdx.x < kWarp) {
    factor_columns<K>(columns, sums, step, a.cols, pivot_threshold(a.rows), stage == 0);
  }
  __syncthreads();
  if (stage > 0) {
    multiply_factors<K>(step, before, a.cols, state.R);
  } else {
    for (int e = threadIdx.x; e < a.cols * K; e += threads) state.R[e] = step[e];
  }
  for (int e = threadIdx.x; e < a.cols * K; e += threads) {
    state.packed[e] = reinterpret_cast<const float*>(sums)[e];
  }
  if (threadIdx.x == 0 && stage == 0) columns.again = 0;  // asked of the second Gram matrix alone
  __syncthreads();
  copy_words(columns, state.columns);
  if (threadIdx.x == 0) {
    int first = 0;
    while (first < a.cols && !has_bit(columns.failed, first)) ++first;
    state.first_failed = columns.nonfinite != 0 ? a.cols : first;
  }
}

// Writes R and info, and NaN where an entry was not finite.
template <int K>
__global__ void __launch_bounds__(256)
    orthonormalize_finish_kernel(const __grid_constant__ SplitArguments a) {
  const int64_t matrix = blockIdx.x;
  const OrthonormalizeState<K>& state = static_cast<OrthonormalizeState<K>*>(a.states)[matrix];
  const bool finite = state.columns.nonfinite == 0;
  const float nan = __uint_as_float(0x7fc00000u);
  if (blockIdx.y == 0) {
    float* const R = a.R + matrix * a.cols * a.cols;
    for (int e = threadIdx.x; e < a.cols * a.cols; e += static_cast<int>(blockDim.x)) {
      const int i = e / a.cols, j = e % a.cols;
      const double entry = i <= j ? ldexp(state.R[i * K + j], state.columns.exponent[j]) : 0.0;
      R[e] = finite ? static_cast<float>(entry) : nan;
    }
    if (threadIdx.x == 0) {
      a.info[matrix] = finite ? (state.columns.failed != 0 ? kDeficient : 0) : kNonFinite;
    }
  }
  if (finite) return;
  const int64_t total = a.rows * a.cols, stride = static_cast<int64_t>(gridDim.y) * blockDim.x;
  for (int64_t e = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x; e < total;
       e += stride) {
    a.Q[matrix * total + e] = nan;
  }
}

}  // namespace subkern
