// Arguments of the step of Sparse Spectral Training, for host code without CUDA too.
#pragma once

#include "host_device.h"

namespace subkern {

constexpr int kSstThreads = 256;
constexpr int kSstEntries = 384;  // whose addresses fit the 32,764 bytes of kernel arguments
// A longer row is computed again in place of waiting in shared memory, 48 KB with what is static.
constexpr int64_t kSstLongest = 11264;

struct SstScalars {
  const float* lr_address;  // read by the kernel unless null
  double lr, value_scale, vector_scale, weight_decay, warmup;
  double ln_beta1, ln_beta2;
  float beta1, one_minus_beta1, beta2, one_minus_beta2, eps;
  bool check_finite;
};

// An entry is rows of unit vectors, or one row of singular values, which has no table.
struct SstArguments {
  void* X[kSstEntries];
  const void* G[kSstEntries];
  float* exp_avg[kSstEntries];
  float* exp_avg_sq[kSstEntries];
  float* step[kSstEntries];
  float* skipped[kSstEntries];
  void* table[kSstEntries];
  const int64_t* sampled[kSstEntries];
  int32_t length[kSstEntries];
  int32_t table_rows[kSstEntries];
  int32_t first[kSstEntries + 1];  // block of an entry's first row; the launch's blocks last
  int32_t count;
  int32_t* counters;  // of each entry; zero
  SstScalars scalars;
};
static_assert(sizeof(SstArguments) <= 32764, "kernel arguments");

}  // namespace subkern
