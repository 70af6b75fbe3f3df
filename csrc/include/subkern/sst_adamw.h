// Step of Sparse Spectral Training for a list of singular values and of rows of unit vectors.
#pragma once

#include "subkern/types.h"

namespace subkern {

// Entry p is `rows[p]` contiguous rows of length[p]; those of values have one row and no table.
struct SstList {
  int64_t count;
  void* const* X;            // dtype; written
  const void* const* G;      // gradients, dtype
  float* const* exp_avg;     // M; written
  float* const* exp_avg_sq;  // V; written
  float* const* step;        // one float each; counts the steps
  float* const* skipped;     // one float each; counts the refused rows
  void* const* table;        // table_rows[p] rows of length[p], dtype; written; null for values
  const int64_t* const* sampled;  // row of the table for each row, below table_rows[p]
  const int64_t* rows;
  const int64_t* length;
  Dtype dtype;
};

struct SstOptions {
  double lr;
  double value_scale;
  double vector_scale;
  double beta1;
  double beta2;
  double eps;
  double weight_decay;
  int64_t warmup;
  bool skip_nonfinite;
  int threads;  // results do not depend on it
};

// N = M / (1 - beta1^t) / (sqrt(V / (1 - beta2^t)) + eps) of every row; values become
// max(S (1 - eta wd) - eta N, 0), vectors (x - eta N) / ||x - eta N||, there and in their table.
void sk_sst_adamw(const SstList& list, const SstOptions& options);

}  // namespace subkern
