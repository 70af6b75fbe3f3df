// Weighted sampling without replacement, and the rows of other arrays that the sample names.
#pragma once

#include "subkern/types.h"

namespace subkern {

constexpr int32_t kSampleInvalid = 1;  // a weight is negative or NaN
constexpr int32_t kSampleShort = 2;    // fewer positive weights than are drawn

// Rows of n weights without gaps, row_stride elements apart.
struct SampleBatch {
  const void* weights;
  Dtype dtype;
  int64_t count, n, k;
  int64_t row_stride;
  uint64_t seed, offset;
  bool sorted;    // columns ascend, else keys fall
  int64_t* idx;   // count x k
  int32_t* info;  // count
};

// count x n x width elements of item_size bytes, at any strides; out is count x k x width.
struct SampleGather {
  const void* source;
  int64_t item_size;  // 1, 2, 4, 8 or 16
  int64_t width;
  int64_t batch_stride, row_stride, col_stride;  // in elements
  void* out;
};

// Bytes of scratch for rows of this size on so many threads.
int64_t sample_workspace(int64_t n, int64_t k, int threads);

void sk_sample(const SampleBatch& batch, const SampleGather* gathers, int64_t gather_count,
               void* workspace, int threads);

}  // namespace subkern
