// Weighted sampling without replacement on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"

namespace subkern {

constexpr int kCudaSampleGathers = 16;  // of one launch

// count x n x width elements of item_size bytes, at any strides; out is count x k x width.
struct CudaSampleGather {
  const void* source;
  void* out;
  int64_t item_size;  // 1, 2, 4, 8 or 16
  int64_t width;
  int64_t batch_stride, row_stride, col_stride;  // in elements
};

// Rows of n weights without gaps, row_stride elements apart.
struct CudaSample {
  const void* weights;
  Dtype dtype;
  int64_t count, n, k;
  int64_t row_stride;
  uint64_t seed, offset;
  bool sorted;
  int64_t* idx;   // count x k
  int32_t* info;  // count
  const CudaSampleGather* gathers;
  int64_t gather_count;  // at most kCudaSampleGathers
  void* scratch;         // cuda_sample_workspace() bytes
};

int64_t cuda_sample_workspace(int64_t count, int64_t n, int64_t k, bool sorted);

// One launch, in order on a stream. Returns a status for cuda_status_text.
int cuda_sample(const CudaSample& call, const CudaQueue& queue, int64_t* launches);

}  // namespace subkern
