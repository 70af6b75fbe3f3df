// Launches inner products.
#include "group_dot.cuh"
#include "group_dot_plan.h"
#include "launcher.h"

namespace subkern {

static auto kernel_of(GroupDotKernel) { return &group_dot_kernel; }

int64_t cuda_group_dot_workspace(int64_t groups, int64_t n) { return group_sums_bytes(groups, n); }

int cuda_group_dot(const CudaGroupDot& call, const CudaQueue& queue, int64_t* launches) {
  return plan_group_dot(call, Launcher(queue, launches));
}

}  // namespace subkern
