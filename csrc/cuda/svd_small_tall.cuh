// svd_small for more rows than a warp has lanes and up to 32 columns: a block for each matrix. It
// holds the matrix in shared memory, from its one read to its one write.
#pragma once

#include "orthonormalize.cuh"
#include "reflect.cuh"
#include "svd_small.cuh"

namespace subkern {

// A is rows x cols, rows >= cols; where that is the transpose of what was asked for, `right` is the
// left factor. Strides count elements.
struct SvdTallArguments {
  const void* A;
  bool narrow;  // A is bf16
  int64_t matrix_stride, row_stride, col_stride;
  float *left, *values, *right;
  int32_t* info;
  int rows, cols;
  bool transposed;
};

// What takes the place of the sums of Gram matrices once R has been read. Entry (i, j) of the
// vectors is at i * K + j.
template <int K>
struct TallFactors {
  Reflectors<K> reflectors;
  float left[K * K], right[K * K];
};

// Warp 0: singular vectors of R, whose columns are scaled by powers of two; values and info.
template <int K>
__device__ __forceinline__ void decompose_factor(const SvdTallArguments& a, int64_t matrix,
                                                 const double* R, const int* exponents,
                                                 TallFactors<K>& factors) {
  constexpr float kNone = -1e4f;  // exponent of a column of zeros
  const int lane = static_cast<int>(threadIdx.x);
  const bool present = lane < a.cols;
  bool any = false;
  for (int i = 0; i < a.cols; ++i) any = any || (present && R[i * K + lane] != 0.0);
  const float own = any ? static_cast<float>(exponents[lane]) : kNone;
  const float most = columns_max<K>(own);
  const int scale = most == kNone ? 0 : static_cast<int>(most);
  const double down = any ? ldexp(1.0, static_cast<int>(own) - scale) : 0.0;
  float x[K], v[K];
#pragma unroll
  for (int i = 0; i < K; ++i) {
    x[i] = any && i < a.cols ? static_cast<float>(R[i * K + lane] * down) : 0.0f;
  }
  __syncwarp();  // factors lie over R
  const Decomposed found = svd_in_warp(x, v, a.cols, factors.reflectors);
  const unsigned missing = __ballot_sync(kAllLanes, present && !found.good) & own_lanes<K>();
  if (lane < K) {
    const float sign = a.transposed && points_down(v) ? -1.0f : 1.0f;
#pragma unroll
    for (int i = 0; i < K; ++i) {
      factors.left[i * K + lane] = sign * x[i];
      factors.right[i * K + lane] = sign * v[i];
    }
  }
  if (present) a.values[matrix * a.cols + lane] = scale_up(scale).apply(found.length);
  if (lane == 0) {
    a.info[matrix] = (missing != 0 ? kRankDeficient : 0) | (!found.finished ? kUnconverged : 0);
  }
}

// Y <- Y left. A thread has whole rows, several of them to share what is read of `left`.
template <int K>
__device__ __forceinline__ void multiply_rows(const SharedMatrix& Y, const float* left) {
  constexpr int kRows = K == 8 ? 1 : 64 / K;
  const int threads = static_cast<int>(blockDim.x);
  for (int r = static_cast<int>(threadIdx.x); r < Y.rows; r += kRows * threads) {
    float y[kRows][K];
#pragma unroll
    for (int n = 0; n < kRows; ++n) {
      const int row = r + n * threads;
#pragma unroll
      for (int j = 0; j < K; ++j) y[n][j] = j < Y.cols && row < Y.rows ? Y.column(j)[row] : 0.0f;
    }
#pragma unroll 1
    for (int c = 0; c < Y.cols; c += 8) {
      float sum[kRows][8] = {};
#pragma unroll
      for (int j = 0; j < K; ++j) {
        if (j % 4 == 0 && j >= Y.cols) break;  // few loads ahead, or they fill the registers
        float entry[8];
        load_pack(left + j * K + c, entry);
#pragma unroll
        for (int n = 0; n < kRows; ++n) {
#pragma unroll
          for (int i = 0; i < 8; ++i) sum[n][i] = fmaf(y[n][j], entry[i], sum[n][i]);
        }
      }
#pragma unroll
      for (int n = 0; n < kRows; ++n) {
        const int row = r + n * threads;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          if (c + i < Y.cols && row < Y.rows) Y.column(c + i)[row] = sum[n][i];
        }
      }
    }
  }
}

// Columns of Y whose entry of largest magnitude, the first of equal ones, is negative change their
// sign, and with them those of `right`. A warp to a column.
template <int K>
__device__ __forceinline__ void fix_signs(const SharedMatrix& Y, float* right) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  for (int c = static_cast<int>(threadIdx.x) / kWarp; c < Y.cols; c += warps) {
    float* const column = Y.column(c);
    float largest = -1.0f, value = 0.0f;
    int at = Y.rows;
    for (int r = lane; r < Y.rows; r += kWarp) {
      const float x = column[r];
      if (fabsf(x) > largest) largest = fabsf(x), value = x, at = r;
    }
#pragma unroll
    for (int apart = kWarp / 2; apart > 0; apart /= 2) {
      const float other = __shfl_xor_sync(kAllLanes, value, apart);
      const int from = __shfl_xor_sync(kAllLanes, at, apart);
      // A lane without rows has zero, which nothing loses to but another zero.
      const bool wins = fabsf(other) > fabsf(value) || (fabsf(other) == fabsf(value) && from < at);
      value = wins ? other : value;
      at = wins ? from : at;
    }
    if (value >= 0.0f) continue;
    for (int r = lane; r < Y.rows; r += kWarp) column[r] = -column[r];
    for (int i = lane; i < Y.cols; i += kWarp) right[i * K + c] = -right[i * K + c];
  }
}

template <int K>
__global__ void __launch_bounds__(orthonormalize_threads(K), K == 8    ? 3
                                                             : K == 16 ? 2
                                                                       : 1)
    svd_small_tall_kernel(const __grid_constant__ SvdTallArguments a) {
  using Scratch = OrthonormalizeScratch<K>;
  static_assert(sizeof(TallFactors<K>) <= sizeof(Scratch::buffers), "factors lie over the sums");
  SK_DYNAMIC_SHARED(Scratch, scratch);
  const int64_t matrix = blockIdx.x, start = matrix * a.matrix_stride;
  const SharedMatrix Y{reinterpret_cast<float*>(scratch + 1), a.rows, a.cols,
                       static_cast<int>(shared_pitch(a.rows, a.cols))};
  if (a.narrow) {
    load_shared<bf16>({static_cast<const bf16*>(a.A) + start, a.row_stride, a.col_stride}, Y);
  } else {
    load_shared<float>({static_cast<const float*>(a.A) + start, a.row_stride, a.col_stride}, Y);
  }
  __syncthreads();
  const Orthonormalized found = orthonormalize_in_shared<K>(Y, *scratch);

  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  float* const left = a.left + matrix * a.rows * a.cols;
  float* const right = a.right + matrix * a.cols * a.cols;
  if ((found.info & kNonFinite) != 0) {
    const float nan = not_a_number();
    for (int e = thread; e < a.rows * a.cols; e += threads) left[e] = nan;
    for (int e = thread; e < a.cols * a.cols; e += threads) right[e] = nan;
    if (thread < a.cols) a.values[matrix * a.cols + thread] = nan;
    if (thread == 0) a.info[matrix] = kBadInput;
    return;
  }
  TallFactors<K>& factors = *reinterpret_cast<TallFactors<K>*>(scratch->buffers);
  if (thread < kWarp) {
    decompose_factor<K>(a, matrix, found.R, scratch->exponent, factors);
  }
  __syncthreads();
  multiply_rows<K>(Y, factors.left);
  __syncthreads();
  if (!a.transposed) fix_signs<K>(Y, factors.right);
  __syncthreads();
  for (int e = thread; e < a.cols * a.cols; e += threads) {
    const int i = e / a.cols, j = e % a.cols;
    right[e] = factors.right[a.transposed ? i * K + j : j * K + i];
  }
  if (!a.transposed) {
    store_shared(Y, left);
  } else {
    for (int c = 0; c < a.cols; ++c) {
      for (int r = thread; r < a.rows; r += threads) {
        left[static_cast<int64_t>(c) * a.rows + r] = Y.column(c)[r];
      }
    }
  }
}

}  // namespace subkern
