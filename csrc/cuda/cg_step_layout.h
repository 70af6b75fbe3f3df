// Arguments of a step of conjugate gradients, for host code without CUDA too.
#pragma once

#include "cg_state.h"
#include "group_layout.h"

namespace subkern {

struct CgResidualArguments {
  float* r;
  const float* q;
  const double* curvature;  // of each group
  CgState* state;           // of each group
  int64_t n;
  GroupSums to;
};

struct CgDirectionArguments {
  float *x, *p;
  const float* z;
  const CgState* state;  // of each group
  int64_t n;
};

}  // namespace subkern
