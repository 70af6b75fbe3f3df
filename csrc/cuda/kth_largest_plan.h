// The launches of a selection: one for each digit, or for all where one block counts alone.
#pragma once

#include <type_traits>

#include "kth_largest_layout.h"
#include "launch_plan.h"
#include "subkern/cuda/kth_largest.h"

namespace subkern {

template <class T, bool kByMask>
struct SelectKernel {
  static constexpr const char* kHeader = "kth_largest.cuh";
  static std::string name() {
    return "select_kernel<" + std::string(kElementName<T>) + (kByMask ? ", true>" : ", false>");
  }
};

// Takes the arguments of all levels but the memory, which begins at `scratch`.
template <class T, bool kByMask, class Launch>
int plan_select(SelectArguments a, void* scratch, const Launch& launch) {
  constexpr int kSides = kByMask ? 2 : 1;
  const int levels = std::is_same_v<T, float> ? kSelectLevels : kSelectLevels - 1;
  char* const base = static_cast<char*>(scratch);
  a.bins = reinterpret_cast<uint64_t*>(base);
  a.states = reinterpret_cast<SelectState*>(base + select_bins_bytes(kSides));
  a.counters = reinterpret_cast<int32_t*>(a.states + 2);
  const LaunchShape shape{select_blocks_of(a.n), 1, kSelectThreads, 0};
  const int together = shape.x == 1 ? levels : 1;
  for (int level = 0; level < levels; level += together) {
    a.level = level;
    a.end = level + together;
    if (const int status = launch(shape, SelectKernel<T, kByMask>(), a)) return status;
  }
  return 0;
}

template <class Launch>
int plan_kth_largest(const CudaKthLargest& call, const Launch& launch) {
  SelectArguments a{};
  a.x[0] = call.x;
  a.n = call.n;
  a.k = call.k;
  a.magnitude = call.magnitude;
  a.value = call.value;
  a.above = call.above;
  a.equal = call.equal;
  return call.dtype == kBFloat16 ? plan_select<bf16, false>(a, call.scratch, launch)
                                 : plan_select<float, false>(a, call.scratch, launch);
}

}  // namespace subkern
