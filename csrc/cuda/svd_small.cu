// Launches svd_small: the kernel for the size, on the matrix or on its transpose; tall ones as in
// svd_small_tall.cu.
#include <algorithm>

#include "subkern/cuda/small_launch.h"
#include "subkern/cuda/svd_small.h"
#include "svd_small.cuh"
#include "svd_small_block.cuh"

namespace subkern {

namespace {

template <class T>
auto kernel_for(int columns) {
  if (columns == 8) return &svd_small_kernel<T, 8>;
  if (columns == 16) return &svd_small_kernel<T, 16>;
  if (columns == 32) return &svd_small_kernel<T, 32>;
  return &svd_small_block_kernel<T>;
}

template <class T>
int launch(const CudaSvdSmall& call, const CudaQueue& queue) {
  const bool transposed = call.m < call.n;
  const int64_t rows = std::max(call.m, call.n), cols = std::min(call.m, call.n);
  const SmallLaunch how = small_launch(call.batch, rows);
  const auto kernel = kernel_for<T>(how.columns);
  SK_LAUNCH(kernel, static_cast<unsigned>(how.blocks), how.threads, 0, queue.stream,
            static_cast<const T*>(call.A), call.batch_stride,
            transposed ? call.col_stride : call.row_stride,
            transposed ? call.row_stride : call.col_stride, transposed ? call.Vh : call.U, call.S,
            transposed ? call.U : call.Vh, call.info, call.batch, static_cast<int32_t>(rows),
            static_cast<int32_t>(cols), static_cast<int32_t>(transposed));
  return launch_status();
}

bool is_tall(int64_t m, int64_t n) {
  return std::max(m, n) > kSmallWarp && std::min(m, n) <= kSmallWarp;
}

}  // namespace

bool cuda_svd_small_fits(int64_t m, int64_t n, int device) {
  return std::max(m, n) <= kMostSmall || cuda_svd_small_tall_fits(m, n, device);
}

int cuda_svd_small(const CudaSvdSmall& call, const CudaQueue& queue, int64_t* launches) {
  if (call.batch == 0 || call.m == 0 || call.n == 0) return 0;
  const DeviceScope scope(queue.device);
  if (scope.status() != 0) return scope.status();
  const int status = is_tall(call.m, call.n)   ? cuda_svd_small_tall(call, queue)
                     : call.dtype == kBFloat16 ? launch<bf16>(call, queue)
                                               : launch<float>(call, queue);
  if (status == 0) ++*launches;
  return status;
}

}  // namespace subkern
