// Launches the scan: blocks share a matrix.
#include "scan.cuh"
#include "subkern/cuda/scan.h"

namespace subkern {

int64_t cuda_scan_workspace(int64_t count, int64_t n) { return count * scan_blocks_of(n) * 12; }

int cuda_scan(const CudaScan& call, const CudaQueue& queue) {
  const DeviceScope scope(queue.device);
  if (scope.status() != 0 || call.count == 0) return scope.status();
  const int64_t blocks = scan_blocks_of(call.n);
  double* const sums = static_cast<double*>(call.workspace);
  const ScanArguments a{call.X,       call.matrix_stride,
                        call.n,       call.results,
                        sums,         reinterpret_cast<uint32_t*>(sums + call.count * blocks),
                        call.counters};
  const dim3 grid(static_cast<unsigned>(call.count), static_cast<unsigned>(blocks));
  if (call.dtype == kBFloat16) {
    SK_LAUNCH(scan_kernel<bf16>, grid, kScanThreads, 0, queue.stream, a);
  } else {
    SK_LAUNCH(scan_kernel<float>, grid, kScanThreads, 0, queue.stream, a);
  }
  return launch_status();
}

}  // namespace subkern
