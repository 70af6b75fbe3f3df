// Entries leave a mask and as many enter it.
#pragma once

#include "subkern/types.h"

namespace subkern {

struct MaskSwap {
  const void* score_remove;  // n, dtype
  const void* score_add;     // n, dtype
  Dtype dtype;
  const uint8_t* mask;  // n bytes, not 0 inside
  int64_t n;
  int64_t inside;    // entries inside, by mask_count
  int64_t swaps;     // at most the entries inside and those outside
  uint8_t* updated;  // n bytes
  int64_t* removed;  // swaps, ascending
  int64_t* added;    // swaps, ascending
};

int64_t mask_count(const uint8_t* mask, int64_t n, int threads);

// Bytes of scratch for n entries on so many threads.
int64_t update_mask_workspace(int64_t n, int threads);

void sk_update_mask(const MaskSwap& swap, void* workspace, int threads);

}  // namespace subkern
