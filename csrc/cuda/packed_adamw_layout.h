// Arguments of AdamW on listed entries, for host code without CUDA too.
#pragma once

#include "host_device.h"

namespace subkern {

constexpr int kPackedThreads = 256, kPackedRun = 4;              // listed entries of a thread
constexpr int64_t kPackedEntries = kPackedThreads * kPackedRun;  // of a block
constexpr int kPackedTensors = 384;  // whose addresses fit the 32,764 bytes of kernel arguments

struct PackedScalars {
  const float* lr_address;  // read by the kernel unless null
  double lr, weight_decay;
  double ln_beta1, ln_beta2;
  float beta1, one_minus_beta1, beta2, one_minus_beta2, eps;
};

struct PackedArguments {
  void* W[kPackedTensors];
  const void* G[kPackedTensors];
  const void* indices[kPackedTensors];
  float* exp_avg[kPackedTensors];
  float* exp_avg_sq[kPackedTensors];
  float* step[kPackedTensors];
  int64_t numel[kPackedTensors];
  int64_t listed[kPackedTensors];
  int32_t first[kPackedTensors + 1];  // block with which a tensor starts; the launch's blocks last
  uint8_t packed[kPackedTensors];     // G has one element per index, else one per element of W
  uint8_t per_entry[kPackedTensors];  // so has step, else one
  int32_t count;
  int32_t* counters;  // of each tensor; zero
  PackedScalars scalars;
};
static_assert(sizeof(PackedArguments) <= 32764, "kernel arguments");

// A tensor without listed entries has a block too, which counts its step.
SK_BOTH inline int64_t packed_blocks_of(int64_t listed) {
  return listed > 0 ? (listed + kPackedEntries - 1) / kPackedEntries : 1;
}

}  // namespace subkern
