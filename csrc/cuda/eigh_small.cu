// Launches eigh_small.
#include "eigh_small.cuh"
#include "eigh_small_block.cuh"
#include "eigh_small_plan.h"
#include "launcher.h"

namespace subkern {

template <class T, int N>
static auto kernel_of(EighSmallKernel<T, N>) {
  return &eigh_small_kernel<T, N>;
}

template <class T>
static auto kernel_of(EighSmallBlockKernel<T>) {
  return &eigh_small_block_kernel<T>;
}

int cuda_eigh_small(const CudaEighSmall& call, const CudaQueue& queue, int64_t* launches) {
  return plan_eigh_small(call, Launcher(queue, launches));
}

}  // namespace subkern
