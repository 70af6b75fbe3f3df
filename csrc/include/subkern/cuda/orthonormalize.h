// Orthonormal columns of many matrices on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"

namespace subkern {

// Matrices of rows >= cols >= 1; Q and R come row by row, without gaps.
struct CudaOrthonormalize {
  const void* Y;
  Dtype dtype;
  int64_t count, rows, cols;
  int64_t matrix_stride, row_stride, col_stride;  // of Y, in elements
  float* Q;
  float* R;
  int32_t* info;
};

constexpr int64_t kCudaOrthonormalizeCols = 64;

// Whether a block of the device holds a matrix of this shape.
bool cuda_orthonormalize_fits(int64_t rows, int64_t cols, int device);

// One launch, in order on a stream. Returns a status for cuda_status_text.
int cuda_orthonormalize(const CudaOrthonormalize& call, const CudaQueue& queue);

}  // namespace subkern
