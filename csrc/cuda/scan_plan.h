// The launch of the scan: blocks share a matrix.
#pragma once

#include "launch_plan.h"
#include "scan_layout.h"
#include "subkern/cuda/scan.h"

namespace subkern {

template <class T>
struct ScanKernel {
  static constexpr const char* kHeader = "scan.cuh";
  static std::string name() { return "scan_kernel<" + std::string(kElementName<T>) + ">"; }
};

inline int64_t plan_scan_workspace(int64_t count, int64_t n) {
  return count * scan_blocks_of(n) * 12;
}

template <class Launch>
int plan_scan(const CudaScan& call, const Launch& launch) {
  if (call.count == 0) return 0;
  const int64_t blocks = scan_blocks_of(call.n);
  double* const sums = static_cast<double*>(call.workspace);
  const ScanArguments a{call.X,       call.matrix_stride,
                        call.n,       call.results,
                        sums,         reinterpret_cast<uint32_t*>(sums + call.count * blocks),
                        call.counters};
  const LaunchShape shape{call.count, blocks, kScanThreads, 0};
  return call.dtype == kBFloat16 ? launch(shape, ScanKernel<bf16>(), a)
                                 : launch(shape, ScanKernel<float>(), a);
}

}  // namespace subkern
