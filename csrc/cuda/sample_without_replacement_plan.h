// The launch of sampling: a block for each row, more of them where few rows gather much.
#pragma once

#include "launch_plan.h"
#include "sample_layout.h"
#include "subkern/cuda/sample_without_replacement.h"

namespace subkern {

template <class T>
struct SampleKernel {
  static constexpr const char* kHeader = "sample_without_replacement.cuh";
  static std::string name() { return "sample_kernel<" + std::string(kElementName<T>) + ">"; }
};

static_assert(kSampleSources == kCudaSampleGathers, "one launch takes all");

inline bool sample_is_shared(int64_t n, int64_t k, bool sorted) {
  return 4 * sample_room(n, k, sorted) <= kSampleShared;
}

inline int64_t plan_sample_workspace(int64_t count, int64_t n, int64_t k, bool sorted) {
  return sample_is_shared(n, k, sorted) ? 0 : count * 4 * sample_room(n, k, sorted);
}

// Rows without gaps are moved by 16 bytes where everything is aligned to them.
inline SampleSource sample_source(const CudaSampleGather& g, int64_t k) {
  const int64_t size = g.item_size, wide = 16 / size;
  SampleSource s{g.source,
                 g.out,
                 g.width,
                 g.batch_stride,
                 g.row_stride,
                 g.col_stride,
                 static_cast<int32_t>(size)};
  const uintptr_t places =
      reinterpret_cast<uintptr_t>(g.source) | reinterpret_cast<uintptr_t>(g.out);
  const int64_t steps = g.width | g.batch_stride | g.row_stride;
  if (g.col_stride == 1 && places % 16 == 0 && steps % wide == 0 && k > 0) {
    s.width /= wide;
    s.batch_stride /= wide;
    s.row_stride /= wide;
    s.item_size = 16;
  }
  return s;
}

// Blocks that share what a row gathers: 64 KB for each, and no more than fill a large device.
inline int64_t sample_parts(const CudaSample& call) {
  constexpr int64_t kShare = 64 << 10, kBlocks = 256;
  int64_t bytes = 0;
  for (int64_t i = 0; i < call.gather_count; ++i) {
    bytes += call.k * call.gathers[i].width * call.gathers[i].item_size;
  }
  const int64_t wanted = (bytes + kShare - 1) / kShare, most = kBlocks / call.count;
  const int64_t parts = wanted < most ? wanted : most;
  return parts < 1 || !sample_is_shared(call.n, call.k, call.sorted) ? 1 : parts;
}

template <class Launch>
int plan_sample(const CudaSample& call, const Launch& launch) {
  if (call.count == 0) return 0;
  SampleArguments a{};
  const bool shared = sample_is_shared(call.n, call.k, call.sorted);
  a.weights = call.weights;
  a.row_stride = call.row_stride;
  a.seed = call.seed;
  a.offset = call.offset;
  a.idx = call.idx;
  a.info = call.info;
  a.scratch = shared ? nullptr : static_cast<int32_t*>(call.scratch);
  a.n = static_cast<int32_t>(call.n);
  a.k = static_cast<int32_t>(call.k);
  a.sorted = call.sorted;
  a.source_count = static_cast<int32_t>(call.gather_count);
  for (int64_t i = 0; i < call.gather_count; ++i) {
    a.sources[i] = sample_source(call.gathers[i], call.k);
  }
  const int64_t bytes = shared ? 4 * sample_room(call.n, call.k, call.sorted) : 0;
  const LaunchShape shape{call.count, sample_parts(call), kSampleThreads, bytes};
  return call.dtype == kBFloat16 ? launch(shape, SampleKernel<bf16>(), a)
                                 : launch(shape, SampleKernel<float>(), a);
}

}  // namespace subkern
