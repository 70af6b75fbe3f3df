// Launches mask updates.
#include "launcher.h"
#include "update_mask.cuh"
#include "update_mask_plan.h"

namespace subkern {

template <class T, bool kByMask>
static auto kernel_of(SelectKernel<T, kByMask>) {
  return &select_kernel<T, kByMask>;
}
template <class T>
static auto kernel_of(SwapCountKernel<T>) {
  return &swap_count_kernel<T>;
}
template <class T>
static auto kernel_of(SwapKernel<T>) {
  return &swap_kernel<T>;
}

int64_t cuda_update_mask_workspace(int64_t n) { return plan_update_mask_workspace(n); }

int cuda_update_mask(const CudaUpdateMask& call, const CudaQueue& queue, int64_t* launches) {
  return plan_update_mask(call, Launcher(queue, launches));
}

}  // namespace subkern
