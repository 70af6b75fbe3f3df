// Launches eigh_small: the kernel for the size.
#include "eigh_small.cuh"
#include "eigh_small_block.cuh"
#include "subkern/cuda/eigh_small.h"
#include "subkern/cuda/small_launch.h"

namespace subkern {

namespace {

template <class T>
auto kernel_for(int columns) {
  if (columns == 8) return &eigh_small_kernel<T, 8>;
  if (columns == 16) return &eigh_small_kernel<T, 16>;
  if (columns == 32) return &eigh_small_kernel<T, 32>;
  return &eigh_small_block_kernel<T>;
}

template <class T>
int launch(const CudaEighSmall& call, const CudaQueue& queue) {
  const SmallLaunch how = small_launch(call.batch, call.n);
  const auto kernel = kernel_for<T>(how.columns);
  SK_LAUNCH(kernel, static_cast<unsigned>(how.blocks), how.threads, 0, queue.stream,
            static_cast<const T*>(call.C), call.batch_stride, call.row_stride, call.col_stride,
            call.w, call.V, call.info, call.batch, static_cast<int32_t>(call.n));
  return launch_status();
}

}  // namespace

int cuda_eigh_small(const CudaEighSmall& call, const CudaQueue& queue, int64_t* launches) {
  if (call.batch == 0 || call.n == 0) return 0;
  const DeviceScope scope(queue.device);
  if (scope.status() != 0) return scope.status();
  const int status =
      call.dtype == kBFloat16 ? launch<bf16>(call, queue) : launch<float>(call, queue);
  if (status == 0) ++*launches;
  return status;
}

}  // namespace subkern
