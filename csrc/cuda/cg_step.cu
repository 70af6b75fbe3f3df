// Launches the halves of a step of conjugate gradients.
#include "cg_step.cuh"
#include "cg_step_plan.h"
#include "launcher.h"

namespace subkern {

static auto kernel_of(CgResidualKernel) { return &cg_step_residual_kernel; }
static auto kernel_of(CgDirectionKernel) { return &cg_step_direction_kernel; }

int64_t cuda_cg_step_workspace(int64_t groups, int64_t n) { return group_sums_bytes(groups, n); }

int cuda_cg_step_residual(const CudaCgResidual& call, const CudaQueue& queue, int64_t* launches) {
  return plan_cg_step_residual(call, Launcher(queue, launches));
}

int cuda_cg_step_direction(const CudaCgDirection& call, const CudaQueue& queue, int64_t* launches) {
  return plan_cg_step_direction(call, Launcher(queue, launches));
}

}  // namespace subkern
