// Inner products of subkern/group_dot.h on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"

namespace subkern {

struct CudaGroupDot {
  const float *u, *v;  // groups x n
  int64_t groups, n;
  double* dot;        // groups
  void* workspace;    // cuda_group_dot_workspace() bytes
  int32_t* counters;  // groups, zero; unless there is no workspace
};

int64_t cuda_group_dot_workspace(int64_t groups, int64_t n);

// One launch, in order on a stream. Returns a status for cuda_status_text.
int cuda_group_dot(const CudaGroupDot& call, const CudaQueue& queue, int64_t* launches);

}  // namespace subkern
