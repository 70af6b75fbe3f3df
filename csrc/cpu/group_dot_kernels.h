// Inner products of an instruction-set variant: single-threaded, for a block of one group.
#pragma once

#include "subkern/group_dot.h"

#define SUBKERN_GROUP_DOT_KERNELS(KERNEL) \
  KERNEL(double, sk_group_dot_block, (const float* u, const float* v, int64_t n))
