// Launches sums of basis vectors.
#include "combine.cuh"
#include "combine_plan.h"
#include "launcher.h"

namespace subkern {

static auto kernel_of(CombineKernel) { return &combine_kernel; }

int cuda_combine(const CudaCombine& call, const CudaQueue& queue, int64_t* launches) {
  return plan_combine(call, Launcher(queue, launches));
}

}  // namespace subkern
