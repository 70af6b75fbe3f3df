// Launches orthonormalize for tall matrices.
#include "launcher.h"
#include "orthonormalize_plan.h"
#include "orthonormalize_split.cuh"

namespace subkern {

template <int K>
static auto kernel_of(SliceKernel<K>) {
  return &orthonormalize_slice_kernel<K>;
}

template <int K>
static auto kernel_of(FactorKernel<K>) {
  return &orthonormalize_factor_kernel<K>;
}

template <int K>
static auto kernel_of(FinishKernel<K>) {
  return &orthonormalize_finish_kernel<K>;
}

void (*kernel_of(RepairKernel))(RepairArguments);  // defined in orthonormalize_rows.cu

int cuda_orthonormalize_split(const CudaOrthonormalize& call, const CudaQueue& queue,
                              int64_t* launches) {
  const Launcher launch(queue, launches);
  return with_columns(call.Y.cols,
                      [&](auto columns) { return plan_split<columns.kMost>(call, launch); });
}

}  // namespace subkern
