// Launches orthonormalize for matrices that a block holds; taller ones as orthonormalize_split.cu.
#include "launcher.h"
#include "orthonormalize.cuh"
#include "orthonormalize_plan.h"

namespace subkern {

template <int K>
static auto kernel_of(OrthonormalizeKernel<K>) {
  return &orthonormalize_kernel<K>;
}

int64_t cuda_orthonormalize_workspace(int64_t count, int64_t rows, int64_t cols, int device) {
  return fits_whole(rows, cols, most_shared(device)) ? 0 : split_workspace(count, rows, cols);
}

int cuda_orthonormalize(const CudaOrthonormalize& call, const CudaQueue& queue,
                        int64_t launches[2]) {
  if (call.Y.count == 0) return 0;
  if (!fits_whole(call.Y.rows, call.Y.cols, most_shared(queue.device))) {
    return cuda_orthonormalize_split(call, queue, launches + 1);
  }
  const Launcher launch(queue, launches);
  return with_columns(call.Y.cols,
                      [&](auto columns) { return plan_whole<columns.kMost>(call, launch); });
}

}  // namespace subkern
