// Mask updates of subkern/update_mask.h on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"

namespace subkern {

struct CudaUpdateMask {
  const void* score_remove;  // n, dtype
  const void* score_add;     // n, dtype
  Dtype dtype;
  const uint8_t* mask;  // n bytes, not 0 inside
  int64_t n;
  int64_t swaps;  // 1 to n; a list with more than its side has ends with entries of the other
  uint8_t* updated;
  int64_t *removed, *added;  // swaps, ascending
  void* scratch;             // cuda_update_mask_workspace() bytes, zero
};

int64_t cuda_update_mask_workspace(int64_t n);

// Four or five launches, or two for few entries, in order on a stream. Returns a status for
// cuda_status_text.
int cuda_update_mask(const CudaUpdateMask& call, const CudaQueue& queue, int64_t* launches);

}  // namespace subkern
