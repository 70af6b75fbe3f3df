// Inner products of groups of numbers: products and sums in double.
#pragma once

#include "subkern/types.h"

namespace subkern {

constexpr int64_t kGroupBlock = 16384;  // numbers of a group summed together, in a fixed order

struct GroupDot {
  const float *u, *v;  // groups x n
  int64_t groups, n;
  double* dot;   // groups
  double* sums;  // group_dot_workspace() bytes
};

int64_t group_dot_workspace(int64_t groups, int64_t n);
void sk_group_dot(const GroupDot& call, int threads);

}  // namespace subkern
