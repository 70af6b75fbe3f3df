// The scan of subkern/scan.h on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"

namespace subkern {

struct CudaScan {
  const void* X;
  Dtype dtype;
  int64_t count, n, matrix_stride;
  double* results;    // count x 3
  void* workspace;    // cuda_scan_workspace() bytes
  int32_t* counters;  // count, zero
};

int64_t cuda_scan_workspace(int64_t count, int64_t n);

// One launch, in order on a stream. Returns a status for cuda_status_text.
int cuda_scan(const CudaScan& call, const CudaQueue& queue, int64_t* launches);

}  // namespace subkern
