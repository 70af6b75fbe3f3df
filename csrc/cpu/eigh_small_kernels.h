// The kernel that takes the eigen-decomposition of a block of symmetric matrices on one thread.
#pragma once

#include "subkern/eigh_small.h"

namespace subkern {

// What a matrix gives depends neither on the count nor on its place.
#define SUBKERN_EIGH_SMALL_KERNELS(KERNEL)            \
  /* Matrices that are worked on together. */         \
  KERNEL(int64_t, sk_eigh_small_group, (int64_t n))   \
  /* Bytes of scratch for a group, aligned to 64. */  \
  KERNEL(int64_t, sk_eigh_small_scratch, (int64_t n)) \
  /* At most a group. */                              \
  KERNEL(void, sk_eigh_small_block, (const EighSmallBatch& batch, void* scratch))

}  // namespace subkern
