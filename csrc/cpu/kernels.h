// What each instruction-set variant offers: single-threaded kernels, listed op by op.
#pragma once

#include "cg_step_kernels.h"
#include "combine_kernels.h"
#include "eigh_small_kernels.h"
#include "gram_kernels.h"
#include "group_dot_kernels.h"
#include "kth_largest_kernels.h"
#include "optimizer_kernels.h"
#include "orthonormalize_kernels.h"
#include "packed_adamw_kernels.h"
#include "sample_kernels.h"
#include "scan_kernels.h"
#include "sense_kernels.h"
#include "sst_adamw_kernels.h"
#include "svd_small_kernels.h"

#define SUBKERN_KERNELS(KERNEL)          \
  SUBKERN_CG_STEP_KERNELS(KERNEL)        \
  SUBKERN_COMBINE_KERNELS(KERNEL)        \
  SUBKERN_EIGH_SMALL_KERNELS(KERNEL)     \
  SUBKERN_GRAM_KERNELS(KERNEL)           \
  SUBKERN_GROUP_DOT_KERNELS(KERNEL)      \
  SUBKERN_OPTIMIZER_KERNELS(KERNEL)      \
  SUBKERN_ORTHONORMALIZE_KERNELS(KERNEL) \
  SUBKERN_PACKED_ADAMW_KERNELS(KERNEL)   \
  SUBKERN_SAMPLE_KERNELS(KERNEL)         \
  SUBKERN_SCAN_KERNELS(KERNEL)           \
  SUBKERN_SELECT_KERNELS(KERNEL)         \
  SUBKERN_SENSE_KERNELS(KERNEL)          \
  SUBKERN_SST_ADAMW_KERNELS(KERNEL)      \
  SUBKERN_SVD_SMALL_KERNELS(KERNEL)

namespace subkern {

#define SUBKERN_DECLARE(result, name, arguments) result name arguments;

#ifdef SUBKERN_ISA
namespace SUBKERN_ISA {
SUBKERN_KERNELS(SUBKERN_DECLARE)
}
#endif

}  // namespace subkern
