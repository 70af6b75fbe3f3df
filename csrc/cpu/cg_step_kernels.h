// A step's halves of an instruction-set variant: single-threaded, for a block of one group.
#pragma once

#include "subkern/cg_step.h"

#define SUBKERN_CG_STEP_KERNELS(KERNEL)                                                   \
  /* r <- r - step q; the sum of the new squares, in double. */                           \
  KERNEL(double, sk_cg_residual_block, (float* r, const float* q, float step, int64_t n)) \
  /* x <- x + alpha p, then p <- z + beta p. */                                           \
  KERNEL(void, sk_cg_direction_block,                                                     \
         (float* x, float* p, const float* z, float alpha, float beta, int64_t n))
