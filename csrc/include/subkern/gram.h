// Gram matrices of a batch of small matrices.
#pragma once

#include "subkern/types.h"

namespace subkern {

// G = X^T X for each of `batch` matrices X of depth rows and side columns, at any strides.
struct GramBatch {
  const void* X;
  Dtype dtype;
  int64_t batch, depth, side;
  int64_t batch_stride, depth_stride, side_stride;
  void* G;        // contiguous, (batch, side, side)
  bool wide;      // sums in double
  bool wide_out;  // G in double; only with wide
};

// Bytes of scratch that so many threads need.
int64_t gram_workspace(const GramBatch& batch, int threads);

// Both halves of G hold the same bits; they depend neither on `threads` nor on the batch.
void sk_gram(const GramBatch& batch, void* workspace, int threads);

}  // namespace subkern
