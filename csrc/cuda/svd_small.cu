// Launches svd_small; tall matrices as in svd_small_tall.cu.
#include "launcher.h"
#include "svd_small.cuh"
#include "svd_small_block.cuh"
#include "svd_small_plan.h"

namespace subkern {

template <class T, int N>
static auto kernel_of(SvdSmallKernel<T, N>) {
  return &svd_small_kernel<T, N>;
}

template <class T>
static auto kernel_of(SvdSmallBlockKernel<T>) {
  return &svd_small_block_kernel<T>;
}

bool cuda_svd_small_fits(int64_t m, int64_t n, int device) {
  return std::max(m, n) <= kMostSmall || cuda_svd_small_tall_fits(m, n, device);
}

int cuda_svd_small(const CudaSvdSmall& call, const CudaQueue& queue, int64_t* launches) {
  const bool tall = std::max(call.m, call.n) > kSmallWarp && std::min(call.m, call.n) <= kSmallWarp;
  if (!tall || call.batch == 0 || call.m == 0 || call.n == 0) {
    return plan_svd_small(call, Launcher(queue, launches));
  }
  const DeviceScope scope(queue.device);
  if (scope.status() != 0) return scope.status();
  const int status = cuda_svd_small_tall(call, queue);
  if (status == 0) ++*launches;
  return status;
}

}  // namespace subkern
