// What orthonormalize keeps where: arguments, shared memory and workspaces of its kernels, for host
// code without CUDA too.
#pragma once

#include "host_device.h"

namespace subkern {

// Columns lie apart so that a row-major vector of four goes to banks of its own.
SK_BOTH inline int64_t shared_pitch(int64_t rows, int64_t cols) {
  return (rows + 7) / 8 * 8 + (cols <= 4 ? 0 : cols <= 8 ? 4 : cols <= 16 ? 2 : 1);
}

// Partial sums of the Gram matrix of up to K columns: of K = 8 by each warp, else in tiles of
// 4 x 4, by slices of the rows where there are few tiles.
template <int K>
struct GramSums {
  static constexpr int kMostWarps = 8;
  static constexpr int kTiles = (K / 4) * (K / 4 + 1) / 2, kSlices = K == 16 ? 4 : 1;
  static constexpr int kTriangle = K * (K + 1) / 2;
  static constexpr int kCount = K == 8 ? kMostWarps * kTriangle : kTiles * 16 * kSlices;
  static constexpr int kBuffer = kCount > K* K ? kCount : K * K;
};

// What is known of the columns.
template <int K>
struct OrthonormalizeColumns {
  double unit[K];  // 2^-exponent of each column in a first pass, then 1
  double diagonal[K], inverse_root[K];
  float reciprocal[K];        // of the factor's diagonal
  float scale[2][K];          // their product is the unit of the first pass
  int exponent[K];            // column j of R is to be scaled by 2^exponent[j]
  unsigned long long failed;  // a bit for each column whose pivot failed
  int nonfinite, again;       // an entry is not finite; a third pass is needed
};

// What the block needs beside the matrix. Set up by orthonormalize_in_shared.
template <int K>
struct OrthonormalizeScratch : OrthonormalizeColumns<K> {
  double buffers[3][GramSums<K>::kBuffer];     // sums (then packed rows), factor of a pass, product
  double coefficients[2][K], partials[kWarp];  // of repair
  int rows[kWarp];
};

struct OrthonormalizeArguments {
  const void* Y;
  bool narrow;                                    // Y is bf16
  int64_t matrix_stride, row_stride, col_stride;  // of Y, in elements
  float* Q;                                       // row by row, without gaps
  float* R;
  int32_t* info;
  int rows, cols;
};

SK_BOTH constexpr int orthonormalize_threads(int K) { return K == 8 ? 128 : 256; }

// What the launches hand on, one per matrix.
template <int K>
struct OrthonormalizeState {
  OrthonormalizeColumns<K> columns;
  double R[K * K];
  float packed[K * K];  // rows of the last factor, from right of the diagonal on
  int first_failed;
};

struct SplitArguments {
  const void* Y;
  bool narrow;                                    // Y is bf16
  int64_t matrix_stride, row_stride, col_stride;  // of Y, in elements
  float* Q;                                       // row by row, without gaps
  float* R;
  int32_t* info;
  int64_t rows;
  int cols, chunk_rows, slices;  // a block takes the chunks slice, slice + slices, ...
  void* states;
  double* sums;  // of each matrix and slice, as GramSums has them
};

constexpr int kSplitThreads = 128;  // two blocks of a multiprocessor load and compute by turns

// Rows that a block holds at a time, and blocks that share a matrix: from its shape alone. Of 64
// columns two blocks just fit on a multiprocessor with 228 KB of shared memory.
SK_BOTH constexpr int split_chunk_rows(int K) { return 15872 / K; }
SK_BOTH inline int split_slices(int64_t rows, int K) {
  const int64_t chunks = (rows + split_chunk_rows(K) - 1) / split_chunk_rows(K);
  return static_cast<int>(chunks < 512 ? chunks : 512);
}

template <int K>
struct SliceShared {
  double sums[GramSums<K>::kBuffer];
  OrthonormalizeColumns<K> columns;
  alignas(16) float packed[K * K];
};

constexpr int kRepairThreads = 512, kRepairWarps = kRepairThreads / kWarp;

struct RepairArguments {
  const void* Y;
  bool narrow;                                    // Y is bf16
  int64_t matrix_stride, row_stride, col_stride;  // of Y, in elements
  int64_t rows;
  int cols;
  float* Q;          // row by row, without gaps
  double* R;         // of columns scaled by 2^-exponent
  int64_t R_stride;  // doubles from matrix to matrix
  int R_pitch;
  const int32_t* exponent;
  const int32_t* first;  // columns from there on are made; none where it is cols
  int64_t exponent_stride, first_stride;
  float* column;         // rows of each matrix
  double* coefficients;  // cols of each matrix
};

struct CholeskyArguments {
  const double* G;        // cols x cols of each matrix; the upper triangle is read
  const int32_t* wanted;  // one for each matrix: nothing is written where it is zero
  double threshold;
  int cols;
  double* R;      // written: upper triangular, rows of failed columns zero
  uint8_t* good;  // cols of each matrix: read, and zeroed where a pivot fails
};

}  // namespace subkern
