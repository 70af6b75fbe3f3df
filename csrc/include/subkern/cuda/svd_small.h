// Singular value and eigenvalue decompositions of small matrices on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"

namespace subkern {

// `batch` matrices of m x n, max(m, n) <= 64, at any strides; results are contiguous.
struct CudaSvdSmall {
  const void* A;
  Dtype dtype;
  int64_t batch, m, n;
  int64_t batch_stride, row_stride, col_stride;
  float* U;       // m x k, k = min(m, n)
  float* S;       // k
  float* Vh;      // k x n
  int32_t* info;  // one for each matrix
};

// Returns a status for cuda_status_text. `launches` grows by one for the kernel.
int cuda_svd_small(const CudaSvdSmall& call, const CudaQueue& queue, int64_t* launches);

}  // namespace subkern
