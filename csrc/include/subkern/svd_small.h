// Singular value decomposition of a batch of matrices with a side of at most 64.
#pragma once

#include "subkern/types.h"

namespace subkern {

constexpr int64_t kSvdLargest = 64;  // the small side

// Strides count elements of `dtype`; results are contiguous float32, k = min(m, n).
struct SvdSmallBatch {
  const void* A;
  Dtype dtype;
  int64_t count;
  int64_t m;
  int64_t n;
  int64_t matrix_stride;
  int64_t row_stride;
  int64_t col_stride;
  float* U;   // count x m x k
  float* S;   // count x k
  float* Vh;  // count x k x n
  int32_t*
      info;  // count; bits 0 (not finite: results are NaN), 1 (rank deficient), 2 (not converged)
  bool streams;   // U is aligned to 64 and too large for the caches
  int64_t ahead;  // elements of A to what the thread reads after this block, or 0
};

// Bytes of scratch for matrices of this shape on so many threads.
int64_t svd_small_workspace(int64_t m, int64_t n, int threads);

void sk_svd_small(const SvdSmallBatch& batch, void* workspace, int threads);

}  // namespace subkern
