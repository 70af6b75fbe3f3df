// Orthonormal columns of many matrices on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"

namespace subkern {

// Matrices of rows >= cols >= 1; strides count elements.
struct CudaMatrices {
  const void* data;
  Dtype dtype;
  int64_t count, rows, cols;
  int64_t matrix_stride, row_stride, col_stride;
};

// Q and R come row by row, without gaps.
struct CudaOrthonormalize {
  CudaMatrices Y;
  float* Q;
  float* R;
  int32_t* info;
  void* workspace;  // cuda_orthonormalize_workspace() bytes, aligned to 16
};

constexpr int64_t kCudaOrthonormalizeCols = 64;

// Bytes of workspace; none where a block of the device holds a matrix.
int64_t cuda_orthonormalize_workspace(int64_t count, int64_t rows, int64_t cols, int device);

// For up to 64 columns, in order on a stream. Returns a status for cuda_status_text. `launches`
// grows by the kernels: for matrices that a block holds, for taller ones.
int cuda_orthonormalize(const CudaOrthonormalize& call, const CudaQueue& queue,
                        int64_t launches[2]);

// What cuda_orthonormalize does with taller matrices.
int cuda_orthonormalize_split(const CudaOrthonormalize& call, const CudaQueue& queue,
                              int64_t* launches);

// Columns of Q from `first` on, made one after the other out of those of Y: a column becomes what
// its predecessors leave of it or, where that is nothing, the unit vector of the row that they use
// least. Nothing happens where `first` is cols.
struct CudaRepair {
  CudaMatrices Y;
  float* Q;                         // row by row, without gaps
  double* R;                        // of the columns times 2^-exponent; rows of R_pitch
  int64_t R_stride, R_pitch;        // doubles from matrix to matrix, from row to row
  const int32_t *exponent, *first;  // cols and one for each matrix
  int64_t exponent_stride, first_stride;
  float* column;         // count x rows of scratch
  double* coefficients;  // count x cols of scratch
};

int cuda_orthonormalize_repair(const CudaRepair& call, const CudaQueue& queue, int64_t* launches);

// R^T R = G on the columns that are good: upper triangular, rows of the others zero. A pivot of no
// more than `threshold` times its column's squared norm fails and clears `good`. Nothing happens
// where `wanted` is zero.
struct CudaCholesky {
  const double* G;        // count x cols x cols, of which the upper triangle is read
  const int32_t* wanted;  // count
  double threshold;
  int64_t count, cols;
  double* R;            // count x cols x cols
  unsigned char* good;  // count x cols, zero or one
};

int cuda_orthonormalize_cholesky(const CudaCholesky& call, const CudaQueue& queue,
                                 int64_t* launches);

}  // namespace subkern
