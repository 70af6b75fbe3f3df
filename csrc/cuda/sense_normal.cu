// Launches H v of multi-coil imaging.
#include "launcher.h"
#include "sense_normal.cuh"
#include "sense_plan.h"

namespace subkern {

static auto kernel_of(SenseLineKernel) { return &sense_line_kernel; }
static auto kernel_of(SenseRowsKernel) { return &sense_rows_kernel; }
static auto kernel_of(SenseColumnsKernel) { return &sense_columns_kernel; }
static auto kernel_of(SenseGatherKernel) { return &sense_gather_kernel; }

int64_t cuda_sense_pack_floats(bool line, int64_t weight_sets, int64_t h, int64_t w) {
  return SensePacked(line, weight_sets, h, w).floats;
}

void cuda_sense_pack(bool line, int64_t weight_sets, int64_t h, int64_t w, const float* weights,
                     float* packed) {
  plan_sense_pack(line, weight_sets, h, w, weights, packed);
}

int64_t cuda_sense_workspace(const CudaSenseMaps& S) { return plan_sense_workspace(S); }

int cuda_sense_normal(const CudaSenseNormal& call, const CudaQueue& queue, int64_t* launches) {
  return plan_sense_normal(call, most_shared(queue.device), Launcher(queue, launches));
}

}  // namespace subkern
