// The k-th largest of subkern/kth_largest.h on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"

namespace subkern {

struct CudaKthLargest {
  const void* x;  // n, dtype
  Dtype dtype;
  int64_t n, k;    // 1 <= k <= n
  bool magnitude;  // order |x|
  void* value;     // one, dtype
  int64_t *above, *equal;
  void* scratch;  // cuda_kth_largest_workspace() bytes, zero
};

constexpr int64_t kCudaSelectMost = int64_t{1} << 40;  // numbers: a block counts in 32 bits

int64_t cuda_kth_largest_workspace();

// A launch for each of two or three digits, or one for few numbers, in order on a stream. Returns a
// status for cuda_status_text.
int cuda_kth_largest(const CudaKthLargest& call, const CudaQueue& queue, int64_t* launches);

}  // namespace subkern
