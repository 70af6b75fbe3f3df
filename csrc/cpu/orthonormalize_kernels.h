// The kernel that orthonormalizes a block of matrices on one thread, per instruction-set variant.
#pragma once

#include "subkern/orthonormalize.h"

namespace subkern {

// What a matrix gives depends neither on count nor on its place. Q may not overlap Y.
#define SUBKERN_ORTHONORMALIZE_KERNELS(KERNEL)                                             \
  /* Bytes of scratch, for any count. */                                                   \
  KERNEL(int64_t, sk_orthonormalize_scratch, (int64_t m, int64_t k))                       \
  /* Matrices that are worked on together: other counts than its multiples waste lanes. */ \
  KERNEL(int64_t, sk_orthonormalize_group, ())                                             \
  KERNEL(void, sk_orthonormalize_block, (const OrthonormalizeBlock& block))                \
  /* R and info of at most a group; Q where the next would answer false. */                \
  KERNEL(void, sk_orthonormalize_factor, (const OrthonormalizeBlock& block))               \
  /* After it, same block: Q F of a lane, with the signs that make the largest entry of */ \
  /* a column positive; for at most so many columns. */                                    \
  KERNEL(int64_t, sk_orthonormalize_product_columns, ())                                   \
  KERNEL(bool, sk_orthonormalize_product,                                                  \
         (const OrthonormalizeBlock& block, int64_t lane, const float* F, float* signs))

}  // namespace subkern
