// The vector halves of a step of conjugate gradients, see subkern/cg_step.h, on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"

namespace subkern {

struct CudaCgResidual {
  float* r;                 // groups x n
  const float* q;           // groups x n
  const double* curvature;  // groups
  double* state;            // groups x 10
  int64_t groups, n;
  void* workspace;    // cuda_cg_step_workspace() bytes
  int32_t* counters;  // groups, zero; unless there is no workspace
};

struct CudaCgDirection {
  float *x, *p;         // groups x n
  const float* z;       // groups x n
  const double* state;  // groups x 10
  int64_t groups, n;
};

int64_t cuda_cg_step_workspace(int64_t groups, int64_t n);

// One launch each, in order on a stream. Return a status for cuda_status_text.
int cuda_cg_step_residual(const CudaCgResidual& call, const CudaQueue& queue, int64_t* launches);
int cuda_cg_step_direction(const CudaCgDirection& call, const CudaQueue& queue, int64_t* launches);

}  // namespace subkern
