// The Gram kernels of an instruction-set variant: single-threaded, for a band of one matrix.
#pragma once

#include "subkern/gram.h"

#define SUBKERN_GRAM_KERNELS(KERNEL)                                       \
  /* Bytes of scratch of a band. */                                        \
  KERNEL(int64_t, sk_gram_scratch, (int64_t side, bool wide))              \
  /* Rows [from, from + kGramBand) of the lower half, and their mirror. */ \
  KERNEL(void, sk_gram_band, (const GramBatch& batch, int64_t index, int64_t from, void* scratch))

namespace subkern {

constexpr int64_t kGramBand = 64;

}  // namespace subkern
