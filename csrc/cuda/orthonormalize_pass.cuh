// A pass of CholeskyQR over a matrix in shared memory: Gram matrix, its factor, the product.
#pragma once

#include "matrix_shared.cuh"
#include "orthonormalize_layout.h"

namespace subkern {

constexpr int kNonFinite = 1, kDeficient = 2;  // bits of info
constexpr double kThirdPass =
    0.05;  // departure of a Gram matrix from the identity that asks for it

__device__ __forceinline__ bool has_bit(unsigned long long bits, int i) { return bits >> i & 1; }

// Pivots at or below this share of the squared column norm fail.
__device__ __forceinline__ double pivot_threshold(int64_t rows) {
  const double rounding = 8 * 0x1p-53 * sqrt(static_cast<double>(rows));
  return rounding > 0x1p-44 ? rounding : 0x1p-44;
}

// Sums N values over a warp: half of the values go to the upper lanes, half to the lower, and so
// on. Each lane stores, or adds, the sums that are left to it: `count` from `first` on.
template <int N, int kApart>
__device__ __forceinline__ void scatter_sum(const double (&x)[N], double* sums, int first,
                                            int count, bool add) {
  if constexpr (kApart == 0) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (i < count) sums[first + i] = add ? sums[first + i] + x[i] : x[i];
    }
  } else {
    constexpr int kHalf = (N + 1) / 2;
    const bool upper = (threadIdx.x & kApart) != 0;
    double kept[kHalf];
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const double low = x[i], high = i + kHalf < N ? x[(i + kHalf) % N] : 0.0;
      kept[i] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, kApart);
    }
    scatter_sum<kHalf, kApart / 2>(kept, sums, upper ? first + kHalf : first,
                                   upper ? count - kHalf : (count < kHalf ? count : kHalf), add);
  }
}

// Partial sums of Y^T Y in fp64, new or added to; columns past the last repeat it.
template <int K>
__device__ __forceinline__ void gram_in_shared(const SharedMatrix& Y, double* sums,
                                               bool add = false) {
  using Sums = GramSums<K>;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, last = Y.cols - 1;
  if constexpr (K == 8) {
    double sum[Sums::kTriangle] = {};
    for (int r = threadIdx.x; r < Y.rows; r += static_cast<int>(blockDim.x)) {
      double y[K];
#pragma unroll
      for (int j = 0; j < K; ++j) y[j] = Y.column(j < last ? j : last)[r];
#pragma unroll
      for (int j = 0; j < K; ++j) {
#pragma unroll
        for (int i = 0; i <= j; ++i) {
          sum[j * (j + 1) / 2 + i] = fma(y[i], y[j], sum[j * (j + 1) / 2 + i]);
        }
      }
    }
    scatter_sum<Sums::kTriangle, 16>(sum, sums + Sums::kTriangle * warp, 0, Sums::kTriangle, add);
  } else {
    const int warps = static_cast<int>(blockDim.x) / kWarp;
    for (int item = warp; item < Sums::kTiles * Sums::kSlices; item += warps) {
      const int tile = item / Sums::kSlices, slice = item % Sums::kSlices;
      int a = 0;
      while ((a + 1) * (a + 2) / 2 <= tile) ++a;
      const int b = tile - a * (a + 1) / 2;
      if (4 * a > last) break;
      const float *left[4], *right[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        left[i] = Y.column(4 * a + i < last ? 4 * a + i : last);
        right[i] = Y.column(4 * b + i < last ? 4 * b + i : last);
      }
      double sum[16] = {};
      for (int r = slice * kWarp + lane; r < Y.rows; r += Sums::kSlices * kWarp) {
        double x[4], y[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) x[i] = left[i][r], y[i] = right[i][r];
#pragma unroll
        for (int i = 0; i < 16; ++i) sum[i] = fma(x[i / 4], y[i % 4], sum[i]);
      }
      scatter_sum<16, 16>(sum, sums + 16 * item, 0, 16, add);
    }
  }
}

// Entry (i, j) of the Gram matrix, i <= j.
template <int K>
__device__ __forceinline__ double gram_entry(const double* sums, int i, int j) {
  using Sums = GramSums<K>;
  double sum = 0.0;
  if constexpr (K == 8) {
    const int warps = static_cast<int>(blockDim.x) / kWarp;
    for (int w = 0; w < warps; ++w) sum += sums[Sums::kTriangle * w + j * (j + 1) / 2 + i];
  } else {
    const int a = j / 4, tile = a * (a + 1) / 2 + i / 4;
#pragma unroll
    for (int s = 0; s < Sums::kSlices; ++s) {
      sum += sums[16 * (tile * Sums::kSlices + s) + j % 4 * 4 + i % 4];
    }
  }
  return sum;
}

template <int K>
__device__ __forceinline__ void sync_columns() {
  if constexpr (K > kWarp) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}

// Thread = column. Writes R (rows of stride K, entries rounded to fp32) with R^T R = G on the good
// columns: rows of failed columns are zero, failed columns are those of the identity. Over the sums
// go its rows from right of the diagonal on. Called by warp 0, for K = 64 by the block.
template <int K>
__device__ __forceinline__ void factor_columns(OrthonormalizeColumns<K>& s, double* sums, double* R,
                                               int cols, double threshold, bool first) {
  const int j = threadIdx.x;
  const bool within = j < K;
  unsigned long long failed = s.failed;
  const bool good = within && j < cols && !has_bit(failed, j);
  if (within) {
    const double square = good ? gram_entry<K>(sums, j, j) : 0.0;
    if (!(square < 0x1p1023)) s.nonfinite = 1;
    const int exponent = first && square > 0.0 ? (ilogb(square) >> 1) + 1 : 0;
    s.unit[j] = ldexp(1.0, -exponent);
    s.diagonal[j] = ldexp(square, -2 * exponent);
    if (first) {
      s.exponent[j] = exponent;
      s.scale[0][j] = ldexpf(1.0f, -(exponent / 2));
      s.scale[1][j] = ldexpf(1.0f, exponent / 2 - exponent);
    }
  }
  sync_columns<K>();

  double x[K];  // column j of what is left of G, from row p on
  double away = 0.0;
#pragma unroll
  for (int i = 0; i < K; ++i) {
    x[i] = 0.0;
    if (good && i <= j && !has_bit(failed, i)) {
      x[i] = gram_entry<K>(sums, i, j) * s.unit[i] * s.unit[j];
      away = fmax(away, fabs(i == j ? x[i] - 1.0 : x[i]));
    }
  }
  if (away > kThirdPass) s.again = 1;
  double pivot = 0.0;
#pragma unroll 1
  for (int p = 0; p < cols; ++p) {
    double* const row = R + p * K;
    if (within) row[j] = j < p ? 0.0 : x[0];
    sync_columns<K>();
    const double d = row[p];
    const bool passes = d > threshold * s.diagonal[p];
    if (!passes) failed |= 1ull << p;
    if (j == p) pivot = passes ? d : 0.0;
    const double factor = passes && j > p ? x[0] / d : 0.0;
#pragma unroll
    for (int c = 0; c < K; c += 8) {
      if (p + 1 + c < cols) {  // what runs over the end of the row never becomes one
#pragma unroll
        for (int i = c; i < c + 8; ++i) {
          if (within) x[i] = fma(-row[p + 1 + i], factor, i + 1 < K ? x[(i + 1) % K] : 0.0);
        }
      }
    }
  }
  if (within) s.inverse_root[j] = pivot > 0.0 ? 1.0 / sqrt(pivot) : 0.0;
  sync_columns<K>();
  if (within) {
    float* const rows = reinterpret_cast<float*>(sums);
    for (int p = 0; p < cols; ++p) {
      const float entry = static_cast<float>(R[p * K + j] * s.inverse_root[p]);
      const bool identity = has_bit(failed, j);
      R[p * K + j] = identity ? (p == j ? 1.0 : 0.0) : entry;
      if (p < j) rows[p * K + j - p - 1] = entry;
      if (p == j) s.reciprocal[j] = identity ? 0.0f : 1.0f / entry;
    }
  }
  if (j == 0) s.failed = failed;
}

// product <- step R, upper triangular, by all threads.
template <int K>
__device__ __forceinline__ void multiply_factors(const double* step, const double* R, int cols,
                                                 double* product) {
  for (int e = threadIdx.x; e < cols * K; e += static_cast<int>(blockDim.x)) {
    const int i = e / K, j = e % K;
    double sum = 0.0;
    for (int l = i; l <= j && j < cols; ++l) sum = fma(step[i * K + l], R[l * K + j], sum);
    product[e] = sum;
  }
}

// Good columns of Y <- Y R^-1, by substitution along each row: unlike a product with the inverse,
// Q R is then Y to rounding. The first pass scales every column; failed ones it leaves at that.
template <int K>
__device__ __forceinline__ void divide_in_shared(const SharedMatrix& Y,
                                                 const OrthonormalizeColumns<K>& s,
                                                 const float* rows, bool first) {
  constexpr int kRows = K <= 8 ? 1 : K == 64 ? 1 : 64 / K;  // of a thread: share what is read of R
  const unsigned long long failed = s.failed;
  const int threads = static_cast<int>(blockDim.x);
  for (int r = threadIdx.x; r < Y.rows; r += kRows * threads) {
    float y[kRows][K];
#pragma unroll
    for (int j = 0; j < K; ++j) {
#pragma unroll
      for (int n = 0; n < kRows; ++n) {
        const int row = r + n * threads;
        const bool there = j < Y.cols && row < Y.rows;
        y[n][j] = there ? Y.column(j)[row] : 0.0f;
        if (first && there) {
          y[n][j] = y[n][j] * s.scale[0][j] * s.scale[1][j];
          if (has_bit(failed, j)) Y.column(j)[row] = y[n][j];
        }
      }
    }
#pragma unroll(K <= 8 ? K : 1)
    for (int q = 0; q < (K <= 8 ? K : Y.cols); ++q) {
      if (K <= 8 && q >= Y.cols) break;
      const float reciprocal = s.reciprocal[q];
      float entry[kRows];
#pragma unroll
      for (int n = 0; n < kRows; ++n) {
        entry[n] = y[n][0] * reciprocal;
        if (!has_bit(failed, q) && r + n * threads < Y.rows)
          Y.column(q)[r + n * threads] = entry[n];
      }
#pragma unroll
      for (int c = 0; c < K; c += 4) {
        if (q + 1 + c < Y.cols) {
          float right[4];
          load_pack(rows + q * K + c, right);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int n = 0; n < kRows; ++n) {
              y[n][c + i] = fmaf(-right[i], entry[n], c + i + 1 < K ? y[n][(c + i + 1) % K] : 0.0f);
            }
          }
        }
      }
    }
  }
}

}  // namespace subkern
