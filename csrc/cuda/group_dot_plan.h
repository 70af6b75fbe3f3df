// The launch of inner products: blocks share a group.
#pragma once

#include "group_dot_layout.h"
#include "group_plan.h"
#include "subkern/cuda/group_dot.h"

namespace subkern {

struct GroupDotKernel {
  static constexpr const char* kHeader = "group_dot.cuh";
  static std::string name() { return "group_dot_kernel"; }
};

template <class Launch>
int plan_group_dot(const CudaGroupDot& call, const Launch& launch) {
  if (call.groups == 0) return 0;
  const GroupDotArguments a{
      call.u, call.v, call.n, call.dot, {static_cast<double*>(call.workspace), call.counters}};
  return launch(group_shape(call.groups, call.n), GroupDotKernel(), a);
}

}  // namespace subkern
