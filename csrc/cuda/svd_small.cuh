// svd_small for matrices of at most 32 rows and columns: 32 / N of them to a warp, one warp to a
// block, a column to a lane.
#pragma once

#include "reflect.cuh"

namespace subkern {

// Reads the columns of `rows` x `cols` matrices; zeros around them and for a lane without a matrix.
template <class T, int N>
__device__ __forceinline__ void load_columns(const T* A, int64_t row_stride, int rows, bool present,
                                             float (&a)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) a[i] = present && i < rows ? widen(A[i * row_stride]) : 0.0f;
}

// Whether the matrix has an entry that is not finite; such a matrix becomes zero. Otherwise it is
// scaled by a power of two to entries next to one, whose exponent is returned in `scale`.
template <int N>
__device__ __forceinline__ bool normalize(float (&a)[N], int& scale) {
  bool bad = false;
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    bad = bad || is_nonfinite(a[i]);
    largest = fmaxf(largest, fabsf(a[i]));
  }
  bad = (__ballot_sync(kAllLanes, bad) & own_lanes<N>()) != 0;
  largest = columns_max<N>(largest);
  scale = bad ? 0 : exponent(largest);
  const Scale down = scale_down(scale);
#pragma unroll
  for (int i = 0; i < N; ++i) a[i] = bad ? 0.0f : down.apply(a[i]);
  return bad;
}

// What svd_in_warp found beside the vectors.
struct Decomposed {
  float length;   // singular value of this lane's columns
  bool good;      // it is not negligible
  bool finished;  // the rotations came to an end
};

// Singular vectors of each matrix whose columns the lanes hold in a: its left ones replace them,
// the right ones go to v, in order of descending singular values. The rows of the triangular
// factor of a QR factorization with pivoting are close to orthogonal already: rotations on those
// end soon, and add up to the left vectors.
template <int N>
__device__ __forceinline__ Decomposed svd_in_warp(float (&a)[N], float (&v)[N], int cols,
                                                  Reflectors<N>& shared) {
  const int lane = static_cast<int>(threadIdx.x) % N;
  Decomposed found;
  reflect(a, cols, shared);
  const int32_t taken = shared.lanes[threadIdx.x % kWarp];
#pragma unroll
  for (int i = 0; i < N; ++i) v[i] = i == lane ? 1.0f : 0.0f;
  found.finished = !jacobi(a, v, found.length);
  unreflect(v, cols, shared);

  const float longest = __shfl_sync(kAllLanes, found.length, 0, N);
  found.good = found.length > kNegligible * longest;
  const float inverse = found.good ? 1.0f / found.length : 0.0f;
#pragma unroll
  for (int i = 0; i < N; ++i) a[i] *= inverse;
  complete(a, found.good, cols, shared);
  restore_order(a, taken, shared);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float right = a[i];
    a[i] = v[i];
    v[i] = right;
  }
  polish(a);
  polish(v);
  return found;
}

// A is rows x cols with rows >= cols; where that is the transpose of what was asked for, `right` is
// the left factor. `left` is rows x cols and `right` cols x cols, row-major unless transposed.
template <class T, int N>
__global__ void __launch_bounds__(kWarp)
    svd_small_kernel(const T* A, int64_t batch_stride, int64_t row_stride, int64_t col_stride,
                     float* left, float* values, float* right, int32_t* info, int64_t batch,
                     int32_t rows, int32_t cols, int32_t transposed) {
  SK_SHARED(Reflectors<N>, shared, 1);
  const int lane = static_cast<int>(threadIdx.x) % N;
  const int64_t matrix =
      static_cast<int64_t>(blockIdx.x) * (kWarp / N) + static_cast<int>(threadIdx.x) / N;
  const bool present = matrix < batch && lane < cols;

  float a[N], v[N];
  int scale;
  load_columns(A + (present ? matrix * batch_stride + lane * col_stride : 0), row_stride, rows,
               present, a);
  const bool bad = normalize(a, scale);
  const Decomposed found = svd_in_warp(a, v, cols, shared[0]);

  const unsigned missing = __ballot_sync(kAllLanes, present && !found.good) & own_lanes<N>();
  if (!present) return;
  const float sign = (transposed ? points_down(v) : points_down(a)) ? -1.0f : 1.0f;
  const int64_t row = transposed ? 1 : cols, col = transposed ? rows : 1;
  float* const U = left + matrix * rows * cols + lane * col;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (i < rows) U[i * row] = bad ? not_a_number() : sign * a[i];
  }
  const int64_t step = transposed ? cols : 1;
  float* const V = right + matrix * cols * cols + lane * (transposed ? 1 : cols);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (i < cols) V[i * step] = bad ? not_a_number() : sign * v[i];
  }
  values[matrix * cols + lane] = bad ? not_a_number() : scale_up(scale).apply(found.length);
  if (lane == 0) {
    info[matrix] = bad ? kBadInput
                       : (missing != 0 ? kRankDeficient : 0) | (!found.finished ? kUnconverged : 0);
  }
}

}  // namespace subkern
