// Arguments of sums of basis vectors, for host code without CUDA too.
#pragma once

#include "group_layout.h"

namespace subkern {

constexpr int kCombineFactors = 128;  // coefficients that a block holds at a time

struct CombineArguments {
  const float *z, *V;
  const double* coefficients;
  int64_t m, n;
  float* out;
};

}  // namespace subkern
