// The launch of sums of basis vectors: blocks share a group.
#pragma once

#include "combine_layout.h"
#include "group_plan.h"
#include "subkern/cuda/combine.h"

namespace subkern {

struct CombineKernel {
  static constexpr const char* kHeader = "combine.cuh";
  static std::string name() { return "combine_kernel"; }
};

template <class Launch>
int plan_combine(const CudaCombine& call, const Launch& launch) {
  if (call.groups == 0 || call.n == 0) return 0;
  const CombineArguments a{call.z, call.V, call.coefficients, call.m, call.n, call.out};
  return launch(group_shape(call.groups, call.n), CombineKernel(), a);
}

}  // namespace subkern
