// Sparse Spectral Training in an instruction-set variant: single-threaded, for one row.
#pragma once

#include "subkern/sst_adamw.h"

namespace subkern {

struct SstConstants {
  float beta1;
  float one_minus_beta1;
  float beta2;
  float one_minus_beta2;
  float eps;
  float correct1;  // 1 / (1 - beta1^t)
  float correct2;  // 1 / (1 - beta2^t)
  float eta;
  float decay;  // of values
};

// One row with its moments; home is its place in the table, or null for singular values.
struct SstRow {
  void* x;
  const void* g;
  float* m;
  float* v;
  void* home;
  int64_t n;
  Dtype dtype;
};

}  // namespace subkern

#define SUBKERN_SST_ADAMW_KERNELS(KERNEL)                                       \
  KERNEL(void, sk_sst_values, (const SstRow& row, const SstConstants& numbers)) \
  KERNEL(void, sk_sst_vector, (const SstRow& row, const SstConstants& numbers))
