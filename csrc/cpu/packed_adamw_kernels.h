// AdamW on listed entries in an instruction-set variant: single-threaded, for one block.
#pragma once

#include "subkern/packed_adamw.h"

namespace subkern {

struct PackedBlock {
  void* W;
  const void* G;
  Dtype dtype;
  bool packed;          // G has one element per index, else one per element of W
  const void* indices;  // of the block
  bool wide;
  float* M;
  float* V;
  float* step;  // one per index, or null: then rate and root hold for all
  int64_t n;
  float beta1, one_minus_beta1, beta2, one_minus_beta2, eps;
  float decay;
  float rate;                  // lr / (1 - beta1^t), or lr where each index has its own t
  float inverse_root;          // 1 / sqrt(1 - beta2^t)
  float log_beta1, log_beta2;  // for the t of each index
};

// Indices of a block, and the first of the next if there is one.
struct IndexBlock {
  const void* indices;
  bool wide;
  int64_t n;
};

#define SUBKERN_PACKED_ADAMW_KERNELS(KERNEL)                      \
  KERNEL(void, sk_packed_adamw_block, (const PackedBlock& block)) \
  /* Does each index exceed the one before? */                    \
  KERNEL(bool, sk_indices_ascend, (const IndexBlock& block))      \
  KERNEL(void, sk_indices_range, (const IndexBlock& block, int64_t* lowest, int64_t* highest))

}  // namespace subkern
