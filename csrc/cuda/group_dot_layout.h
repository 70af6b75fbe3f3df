// Arguments of inner products, for host code without CUDA too.
#pragma once

#include "group_layout.h"

namespace subkern {

struct GroupDotArguments {
  const float *u, *v;
  int64_t n;
  double* dot;  // of each group
  GroupSums to;
};

}  // namespace subkern
