// Launches sampling.
#include "launcher.h"
#include "sample_without_replacement.cuh"
#include "sample_without_replacement_plan.h"

namespace subkern {

template <class T>
static auto kernel_of(SampleKernel<T>) {
  return &sample_kernel<T>;
}

int64_t cuda_sample_workspace(int64_t count, int64_t n, int64_t k, bool sorted) {
  return plan_sample_workspace(count, n, k, sorted);
}

int cuda_sample(const CudaSample& call, const CudaQueue& queue, int64_t* launches) {
  return plan_sample(call, Launcher(queue, launches));
}

}  // namespace subkern
