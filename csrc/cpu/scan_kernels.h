// The scan of an instruction-set variant: single-threaded, for a block of one matrix.
#pragma once

#include "subkern/scan.h"

#define SUBKERN_SCAN_KERNELS(KERNEL)                           \
  /* Sum of squares, and the bits of the largest magnitude. */ \
  KERNEL(void, sk_scan_block,                                  \
         (const void* x, Dtype dtype, int64_t n, double* sum, uint32_t* largest))
