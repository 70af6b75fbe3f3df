// Launches the step of Sparse Spectral Training.
#include "launcher.h"
#include "sst_adamw.cuh"
#include "sst_adamw_plan.h"

namespace subkern {

template <class T, bool kWaits>
static auto kernel_of(SstKernel<T, kWaits>) {
  return &sst_adamw_kernel<T, kWaits>;
}

int cuda_sst_adamw(const CudaSst& call, const CudaSstOptions& options, const CudaQueue& queue,
                   int64_t* launches) {
  return plan_sst(call, options, Launcher(queue, launches));
}

}  // namespace subkern
