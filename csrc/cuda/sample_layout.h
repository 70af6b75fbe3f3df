// Arguments and memory of sampling, for host code without CUDA too.
#pragma once

#include "host_device.h"

namespace subkern {

constexpr int kSampleThreads = 512, kSampleBins = 2048, kSampleSources = 16;
constexpr int64_t kSampleShared = 64 << 10;  // bytes; what needs more lies in device memory

// In elements of item_size bytes; out has no gaps.
struct SampleSource {
  const void* source;
  void* out;
  int64_t width, batch_stride, row_stride, col_stride;
  int32_t item_size;
};

struct SampleArguments {
  const void* weights;
  int64_t row_stride;
  uint64_t seed, offset;
  int64_t* idx;
  int32_t* info;
  int32_t* scratch;  // null where shared memory holds it; sample_room() words of each row
  int32_t n, k;
  int32_t sorted, source_count;
  SampleSource sources[kSampleSources];
};

// Words that a row needs: keys, the columns drawn and, unless those ascend, what orders them.
SK_BOTH inline int64_t sample_order_at(int64_t n, int64_t k) { return (n + k + 1) / 2 * 2; }
SK_BOTH inline int64_t sample_room(int64_t n, int64_t k, bool sorted) {
  return sample_order_at(n, k) + (sorted ? 0 : 2 * k);
}

}  // namespace subkern
