// The launches of a step of conjugate gradients: blocks share a group.
#pragma once

#include "cg_step_layout.h"
#include "group_plan.h"
#include "subkern/cuda/cg_step.h"

namespace subkern {

struct CgResidualKernel {
  static constexpr const char* kHeader = "cg_step.cuh";
  static std::string name() { return "cg_step_residual_kernel"; }
};
struct CgDirectionKernel {
  static constexpr const char* kHeader = "cg_step.cuh";
  static std::string name() { return "cg_step_direction_kernel"; }
};

template <class Launch>
int plan_cg_step_residual(const CudaCgResidual& call, const Launch& launch) {
  if (call.groups == 0) return 0;
  const CgResidualArguments a{
      call.r,         call.q,
      call.curvature, reinterpret_cast<CgState*>(call.state),
      call.n,         {static_cast<double*>(call.workspace), call.counters}};
  return launch(group_shape(call.groups, call.n), CgResidualKernel(), a);
}

template <class Launch>
int plan_cg_step_direction(const CudaCgDirection& call, const Launch& launch) {
  if (call.groups == 0 || call.n == 0) return 0;
  const CgDirectionArguments a{call.x, call.p, call.z, reinterpret_cast<const CgState*>(call.state),
                               call.n};
  return launch(group_shape(call.groups, call.n), CgDirectionKernel(), a);
}

}  // namespace subkern
