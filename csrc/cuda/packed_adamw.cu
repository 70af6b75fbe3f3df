// Launches AdamW on listed entries.
#include "launcher.h"
#include "packed_adamw.cuh"
#include "packed_adamw_plan.h"

namespace subkern {

template <class T, bool kWide>
static auto kernel_of(PackedKernel<T, kWide>) {
  return &packed_adamw_kernel<T, kWide>;
}

int cuda_packed_adamw(const CudaPacked& call, const CudaPackedOptions& options,
                      const CudaQueue& queue, int64_t* launches) {
  return plan_packed_adamw(call, options, Launcher(queue, launches));
}

}  // namespace subkern
