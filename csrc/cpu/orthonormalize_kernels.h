// The kernel that orthonormalizes a block of matrices on one thread, per instruction-set variant.
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
  void* scratch;  // sk_orthonormalize_scratch(m, k) bytes, aligned to 64
};

// What a matrix gives depends neither on count nor on its place. Q may not overlap Y.
#define SUBKERN_ORTHONORMALIZE_KERNELS(KERNEL)                                             \
  /* Bytes of scratch, for any count. */                                                   \
  KERNEL(int64_t, sk_orthonormalize_scratch, (int64_t m, int64_t k))                       \
  /* Matrices that are worked on together: other counts than its multiples waste lanes. */ \
  KERNEL(int64_t, sk_orthonormalize_group, (int64_t m, int64_t k))                         \
  KERNEL(void, sk_orthonormalize_block, (const OrthonormalizeBlock& block))

}  // namespace subkern
