// Sums of basis vectors: out = z + sum_j coefficients_j V_j in every group.
#pragma once

#include "subkern/types.h"

namespace subkern {

struct Combine {
  const float* z;              // groups x n
  const float* V;              // groups x m x n
  const double* coefficients;  // groups x m; rounded to float
  int64_t groups, m, n;
  float* out;  // groups x n
};

void sk_combine(const Combine& call, int threads);

}  // namespace subkern
