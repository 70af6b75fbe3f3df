// Singular value and eigenvalue decompositions of small matrices on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"

namespace subkern {

// `batch` matrices of m x n that cuda_svd_small_fits, at any strides; results are contiguous.
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

// Whether a kernel takes matrices of this shape: max(m, n) <= 64, or min(m, n) <= 32 and a block of
// the device holds one.
bool cuda_svd_small_fits(int64_t m, int64_t n, int device);

// Returns a status for cuda_status_text. `launches` grows by one for the kernel.
int cuda_svd_small(const CudaSvdSmall& call, const CudaQueue& queue, int64_t* launches);

// What it does with more than 32 rows of no more than 32 columns, or their transpose.
bool cuda_svd_small_tall_fits(int64_t m, int64_t n, int device);
int cuda_svd_small_tall(const CudaSvdSmall& call, const CudaQueue& queue);

}  // namespace subkern
