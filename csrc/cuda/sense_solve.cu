// Launches whole solves under a line mask.
#include "launcher.h"
#include "sense_plan.h"
#include "sense_solve.cuh"

namespace subkern {

template <bool kStaged>
static auto kernel_of(SenseSolveKernel<kStaged>) {
  return &sense_solve_kernel<kStaged>;
}

int cuda_sense_solve(const CudaSenseSolve& call, const CudaQueue& queue, int64_t* launches) {
  return plan_sense_solve(call, most_shared(queue.device), Launcher(queue, launches));
}

}  // namespace subkern
