// Transforms of lengths with the factors 2, 3 and 5, for kernels of CPUs and GPUs and their hosts.
#pragma once

#include "host_device.h"

namespace subkern {

constexpr int64_t kLongestFft = 1024;
constexpr int kMostFftStages = 8;

// Decimation in frequency: stage s splits blocks of `length[s]` into `radix[s]` parts.
struct FftPlan {
  int stages = 0;
  int radix[kMostFftStages];
  int length[kMostFftStages];
  int table[kMostFftStages];  // first float of the stage's factors
  int floats = 0;             // of all tables
};

}  // namespace subkern
