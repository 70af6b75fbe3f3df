// Eigenvalues and eigenvectors of a batch of symmetric matrices with at most 64 rows.
#pragma once

#include "subkern/types.h"

namespace subkern {

constexpr int64_t kEighLargest = 64;

// Strides count elements of `dtype`; the lower triangle is read. Results are contiguous float32.
struct EighSmallBatch {
  const void* C;
  Dtype dtype;
  int64_t count;
  int64_t n;
  int64_t matrix_stride;
  int64_t row_stride;
  int64_t col_stride;
  float* w;       // count x n
  float* V;       // count x n x n
  int32_t* info;  // count; bits 0 (not finite: results are NaN) and 2 (not converged)
};

// Bytes of scratch for matrices of this size on so many threads.
int64_t eigh_small_workspace(int64_t n, int threads);

void sk_eigh_small(const EighSmallBatch& batch, void* workspace, int threads);

}  // namespace subkern
