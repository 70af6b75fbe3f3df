// eigh_small for matrices of at most 32 rows: 32 / N of them to a warp, one warp to a block, a
// column to a lane.
//
// C + shift I is positive definite and well conditioned, so it has a Cholesky factor L. One-sided
// rotations make its columns orthogonal: L J = V sqrt(W), hence C + shift I = V W V^T. No rotation
// has to be accumulated, and rows are never exchanged between lanes.
#pragma once

#include "svd_small.cuh"

namespace subkern {

// Keeps eigenvalues of the shifted matrix away from zero, relative to its norm.
constexpr float kMargin = 0.0625f;

// What makes C + shift I positive definite, by Gershgorin's discs; own column in c.
template <int N>
__device__ __forceinline__ float definite_shift(const float (&c)[N]) {
  const int lane = static_cast<int>(threadIdx.x) % N;
  float center = 0.0f, radius = 0.0f;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (i == lane) {
      center = c[i];
    } else {
      radius += fabsf(c[i]);
    }
  }
  const float below = columns_max<N>(radius - center);
  const float bound = columns_max<N>(radius + fabsf(center));
  return bound > 0.0f ? fmaxf(below, 0.0f) + kMargin * bound : 1.0f;
}

// The lower Cholesky factor of the first `columns` columns, in place.
template <int N>
__device__ __forceinline__ void factor(float (&a)[N], int columns) {
  const int lane = static_cast<int>(threadIdx.x) % N;
#pragma unroll 1
  for (int k = 0; k < columns; ++k) {
    float own = 0.0f;  // by symmetry the entry of column k in the row of this lane's number
#pragma unroll
    for (int i = 0; i < N; ++i) own = i == k ? a[i] : own;
    const float pivot = __shfl_sync(kAllLanes, own, k, N);
    const float share = pivot > 0.0f ? own / pivot : 0.0f;
    const float inverse = pivot > 0.0f ? 1.0f / sqrtf(pivot) : 0.0f;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float entry = __shfl_sync(kAllLanes, a[i], k, N);
      if (lane > k && i > k) a[i] = fmaf(-share, entry, a[i]);
      if (lane == k) a[i] = i >= k ? entry * inverse : 0.0f;
    }
  }
}

// x^T C x for the column x, with C in shared memory as `columns` of them.
template <int N>
__device__ __forceinline__ float quotient(const float (&x)[N], const float* C, int columns) {
  const int first = static_cast<int>(threadIdx.x) % kWarp / N * N;
  float sum = 0.0f;
#pragma unroll 1
  for (int k = 0; k < columns; ++k) {
    float c[N], own = 0.0f;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      c[i] = C[i * kWarp + first + k];
      own = i == k ? x[i] : own;
    }
    sum = fmaf(own, dot(c, x), sum);
  }
  return sum;
}

// C is size x size, its lower triangle is read; values ascend.
template <class T, int N>
__global__ void __launch_bounds__(kWarp)
    eigh_small_kernel(const T* C, int64_t batch_stride, int64_t row_stride, int64_t col_stride,
                      float* values, float* vectors, int32_t* info, int64_t batch, int32_t size) {
  SK_SHARED(float, symmetric, N* kWarp);
  const int lane = static_cast<int>(threadIdx.x) % N;
  const int64_t matrix =
      static_cast<int64_t>(blockIdx.x) * (kWarp / N) + static_cast<int>(threadIdx.x) / N;
  const bool present = matrix < batch && lane < size;

  float a[N], none[1], length;
  const T* const own = C + (present ? matrix * batch_stride : 0);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const int row = i > lane ? i : lane, col = i > lane ? lane : i;
    a[i] = present && i < size ? widen(own[row * row_stride + col * col_stride]) : 0.0f;
  }
  int scale;
  const bool bad = normalize(a, scale);
#pragma unroll
  for (int i = 0; i < N; ++i) symmetric[i * kWarp + threadIdx.x] = a[i];
  __syncwarp();
  const float shift = definite_shift(a);
#pragma unroll
  for (int i = 0; i < N; ++i) a[i] += i == lane && lane < size ? shift : 0.0f;
  factor(a, size);
  const bool unfinished = jacobi(a, none, length);
  const float inverse = length > 0.0f ? 1.0f / length : 0.0f;
#pragma unroll
  for (int i = 0; i < N; ++i) a[i] *= inverse;
  polish(a);
  float descending = lane < size ? -quotient(a, symmetric, size) : -3e38f;
  sort_columns(a, none, descending);

  if (!present) return;
  const float sign = points_down(a) ? -1.0f : 1.0f;
  float* const V = vectors + matrix * size * size + lane;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (i < size) V[static_cast<int64_t>(i) * size] = bad ? not_a_number() : sign * a[i];
  }
  values[matrix * size + lane] = bad ? not_a_number() : scale_up(scale).apply(-descending);
  if (lane == 0) info[matrix] = bad ? kBadInput : unfinished ? kUnconverged : 0;
}

}  // namespace subkern
