// The launches of a mask update: both thresholds, counts of the blocks, and the swap.
#pragma once

#include "kth_largest_plan.h"
#include "subkern/cuda/update_mask.h"
#include "update_mask_layout.h"

namespace subkern {

template <class T>
struct SwapCountKernel {
  static constexpr const char* kHeader = "update_mask.cuh";
  static std::string name() { return "swap_count_kernel<" + std::string(kElementName<T>) + ">"; }
};
template <class T>
struct SwapKernel {
  static constexpr const char* kHeader = "update_mask.cuh";
  static std::string name() { return "swap_kernel<" + std::string(kElementName<T>) + ">"; }
};

inline int64_t plan_update_mask_workspace(int64_t n) {
  return select_bytes(2) + select_blocks_of(n) * static_cast<int64_t>(sizeof(SwapCounts));
}

template <class T, class Launch>
int plan_swap(SwapArguments a, void* scratch, const Launch& launch) {
  char* const base = static_cast<char*>(scratch);
  if (const int status = plan_select<T, true>(a.select, scratch, launch)) return status;
  a.select.states = reinterpret_cast<SelectState*>(base + select_bins_bytes(2));
  a.counts = reinterpret_cast<SwapCounts*>(base + select_bytes(2));
  const LaunchShape shape{select_blocks_of(a.select.n), 1, kSelectThreads, 0};
  if (shape.x > 1) {
    if (const int status = launch(shape, SwapCountKernel<T>(), a)) return status;
  }
  return launch(shape, SwapKernel<T>(), a);
}

template <class Launch>
int plan_update_mask(const CudaUpdateMask& call, const Launch& launch) {
  SwapArguments a{};
  a.select.x[0] = call.score_remove;
  a.select.x[1] = call.score_add;
  a.select.mask = call.mask;
  a.select.n = call.n;
  a.select.k = call.swaps;
  a.updated = call.updated;
  a.lists[0] = call.removed;
  a.lists[1] = call.added;
  return call.dtype == kBFloat16 ? plan_swap<bf16>(a, call.scratch, launch)
                                 : plan_swap<float>(a, call.scratch, launch);
}

}  // namespace subkern
