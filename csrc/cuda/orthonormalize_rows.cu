// Launches the rare paths of orthonormalize: a block for each matrix.
#include "orthonormalize_rows.cuh"
#include "subkern/cuda/orthonormalize.h"

namespace subkern {

int cuda_orthonormalize_repair(const CudaRepair& call, const CudaQueue& queue) {
  const DeviceScope scope(queue.device);
  if (scope.status() != 0 || call.Y.count == 0) return scope.status();
  const RepairArguments a{call.Y.data,
                          call.Y.dtype == kBFloat16,
                          call.Y.matrix_stride,
                          call.Y.row_stride,
                          call.Y.col_stride,
                          call.Y.rows,
                          static_cast<int>(call.Y.cols),
                          call.Q,
                          call.R,
                          call.R_stride,
                          static_cast<int>(call.R_pitch),
                          call.exponent,
                          call.first,
                          call.exponent_stride,
                          call.first_stride,
                          call.column,
                          call.coefficients};
  SK_LAUNCH(orthonormalize_repair_kernel, static_cast<unsigned>(call.Y.count), kRepairThreads, 0,
            queue.stream, a);
  return launch_status();
}

int cuda_orthonormalize_cholesky(const CudaCholesky& call, const CudaQueue& queue) {
  const DeviceScope scope(queue.device);
  if (scope.status() != 0 || call.count == 0) return scope.status();
  const CholeskyArguments a{call.G, call.wanted, call.threshold, static_cast<int>(call.cols),
                            call.R, call.good};
  SK_LAUNCH(orthonormalize_cholesky_kernel, static_cast<unsigned>(call.count), kRepairThreads, 0,
            queue.stream, a);
  return launch_status();
}

}  // namespace subkern
