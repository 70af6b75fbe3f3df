// Eigenvalues and eigenvectors of small symmetric matrices on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"

namespace subkern {

// `batch` matrices of n x n, n <= 64, at any strides, lower triangles read; results contiguous.
struct CudaEighSmall {
  const void* C;
  Dtype dtype;
  int64_t batch, n;
  int64_t batch_stride, row_stride, col_stride;
  float* w;       // n, ascending
  float* V;       // n x n, vectors as columns
  int32_t* info;  // one for each matrix
};

// Returns a status for cuda_status_text. `launches` grows by one for the kernel.
int cuda_eigh_small(const CudaEighSmall& call, const CudaQueue& queue, int64_t* launches);

}  // namespace subkern
