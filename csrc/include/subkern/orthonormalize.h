// Orthonormal columns of many matrices.
#pragma once

#include "subkern/types.h"

namespace subkern {

// Matrices Y of m x k, m >= k, k <= 64; strides count elements of `dtype`. Q and R are contiguous.
struct OrthonormalizeBlock {
  const void* Y;
  Dtype dtype;
  int64_t count;
  int64_t m;
  int64_t k;
  int64_t matrix_stride;
  int64_t row_stride;
  int64_t col_stride;
  float* Q;       // count x m x k: orthonormal columns
  float* R;       // count x k x k: upper triangular, diag(R) >= 0, zeros below; Y = Q R
  int32_t* info;  // count; bits 0 (input not finite: Q and R are NaN) and 1 (dependent columns) are
                  // OR-ed in
  void* scratch;  // aligned to 64
  bool streams;   // Q is aligned to 64 and too large for the caches
  int64_t ahead;  // elements of Y to what the thread reads after this block, or 0
};

constexpr int64_t kOrthonormalizeColumns = 64;  // the most

// Bytes of scratch for so many threads.
int64_t orthonormalize_workspace(int64_t m, int64_t k, int threads);

// What a matrix gives depends neither on count, nor on its place, nor on threads.
void sk_orthonormalize(const OrthonormalizeBlock& batch, int threads);

}  // namespace subkern
