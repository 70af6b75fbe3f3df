// The kernel that takes the singular value decomposition of a block of matrices on one thread.
#pragma once

#include "subkern/svd_small.h"

namespace subkern {

// What a matrix gives depends neither on the count nor on its place.
#define SUBKERN_SVD_SMALL_KERNELS(KERNEL)                       \
  /* Matrices of m >= n that are worked on together. */         \
  KERNEL(int64_t, sk_svd_small_group, (int64_t m, int64_t n))   \
  /* Bytes of scratch for a group, aligned to 64. */            \
  KERNEL(int64_t, sk_svd_small_scratch, (int64_t m, int64_t n)) \
  /* At most a group, m >= n. */                                \
  KERNEL(void, sk_svd_small_block, (const SvdSmallBatch& batch, bool transposed, void* scratch))

}  // namespace subkern
