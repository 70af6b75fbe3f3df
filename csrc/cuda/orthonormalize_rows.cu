// Launches the rare paths of orthonormalize: a block for each matrix.
#include "launcher.h"
#include "orthonormalize_plan.h"
#include "orthonormalize_rows.cuh"

namespace subkern {

void (*kernel_of(RepairKernel))(RepairArguments) { return &orthonormalize_repair_kernel; }

static auto kernel_of(CholeskyKernel) { return &orthonormalize_cholesky_kernel; }

int cuda_orthonormalize_repair(const CudaRepair& call, const CudaQueue& queue, int64_t* launches) {
  return plan_repair(call, Launcher(queue, launches));
}

int cuda_orthonormalize_cholesky(const CudaCholesky& call, const CudaQueue& queue,
                                 int64_t* launches) {
  return plan_cholesky(call, Launcher(queue, launches));
}

}  // namespace subkern
