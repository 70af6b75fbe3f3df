// Launches the scan.
#include "launcher.h"
#include "scan.cuh"
#include "scan_plan.h"

namespace subkern {

template <class T>
static auto kernel_of(ScanKernel<T>) {
  return &scan_kernel<T>;
}

int64_t cuda_scan_workspace(int64_t count, int64_t n) { return plan_scan_workspace(count, n); }

int cuda_scan(const CudaScan& call, const CudaQueue& queue, int64_t* launches) {
  return plan_scan(call, Launcher(queue, launches));
}

}  // namespace subkern
