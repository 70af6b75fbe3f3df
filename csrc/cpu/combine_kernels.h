// Sums of basis vectors of an instruction-set variant: single-threaded, for a block of one group.
#pragma once

#include "subkern/combine.h"

#define SUBKERN_COMBINE_KERNELS(KERNEL)                                                           \
  /* out = z + sum_j coefficients_j V_j, whose vectors are `stride` apart. */                     \
  KERNEL(void, sk_combine_block,                                                                  \
         (float* out, const float* z, const float* V, int64_t stride, const double* coefficients, \
          int64_t m, int64_t n))
