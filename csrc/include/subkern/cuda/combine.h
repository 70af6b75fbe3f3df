// Sums of basis vectors, see subkern/combine.h, on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"

namespace subkern {

struct CudaCombine {
  const float* z;              // groups x n
  const float* V;              // groups x m x n
  const double* coefficients;  // groups x m; rounded to float
  int64_t groups, m, n;
  float* out;  // groups x n
};

// One launch, in order on a stream. Returns a status for cuda_status_text.
int cuda_combine(const CudaCombine& call, const CudaQueue& queue, int64_t* launches);

}  // namespace subkern
