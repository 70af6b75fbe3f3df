// Launches the selection of the k-th largest.
#include "kth_largest.cuh"
#include "kth_largest_plan.h"
#include "launcher.h"

namespace subkern {

template <class T, bool kByMask>
static auto kernel_of(SelectKernel<T, kByMask>) {
  return &select_kernel<T, kByMask>;
}

int64_t cuda_kth_largest_workspace() { return select_bytes(1); }

int cuda_kth_largest(const CudaKthLargest& call, const CudaQueue& queue, int64_t* launches) {
  return plan_kth_largest(call, Launcher(queue, launches));
}

}  // namespace subkern
