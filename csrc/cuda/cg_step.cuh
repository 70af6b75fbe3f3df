// A step of conjugate gradients on groups of numbers, in two halves: r and the group's state, then
// x and p. Step sizes are read and judged on the device.
#pragma once

#include "cg_step_layout.h"
#include "group_blocks.cuh"

namespace subkern {

// The last block of a group writes its state, which all others have read by then.
__global__ void __launch_bounds__(kGroupThreads)
    cg_step_residual_kernel(const __grid_constant__ CgResidualArguments a) {
  SK_SHARED(double, buffer, kGroupThreads);
  SK_SHARED(int, last, 1);
  const GroupPart part(a.n);
  CgState& state = a.state[part.group];
  const double curvature = a.curvature[part.group];
  const bool moves = cg_moves(state, curvature);
  const double alpha = moves ? state.rho / curvature : 0.0;
  const float step = static_cast<float>(alpha);
  float* const r = a.r + part.at;
  const float* const q = a.q + part.at;
  double squares = 0.0;
  for_fours(moves ? part.count : 0, is_aligned(r) && is_aligned(q), [&](const GroupFour& four) {
    float x[4], y[4];
    four.load(r, x);
    if (step != 0.0f) {  // one that rounds to 0 leaves r alone, whatever q holds
      four.load(q, y);
#pragma unroll
      for (int e = 0; e < 4; ++e) x[e] = fmaf(-step, y[e], x[e]);
      four.store(r, x);
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const double wide = x[e];
      squares = fma(wide, wide, squares);
    }
  });
  if (sum_group(squares, a.to, buffer, last, &squares) && threadIdx.x == 0) {
    state = cg_judge(state, curvature, alpha, squares);
  }
}

__global__ void __launch_bounds__(kGroupThreads)
    cg_step_direction_kernel(const __grid_constant__ CgDirectionArguments a) {
  const GroupPart part(a.n);
  const CgState& state = a.state[part.group];
  if (state.alpha == 0.0) return;
  const float alpha = static_cast<float>(state.alpha), beta = static_cast<float>(state.beta);
  float *const x = a.x + part.at, *const p = a.p + part.at;
  const float* const z = a.z + part.at;
  const bool aligned = is_aligned(x) && is_aligned(p) && is_aligned(z);
  for_fours(part.count, aligned, [&](const GroupFour& four) {
    float iterate[4], direction[4], next[4];
    four.load(x, iterate);
    four.load(p, direction);
    four.load(z, next);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      iterate[e] = fmaf(alpha, direction[e], iterate[e]);
      next[e] = fmaf(beta, direction[e], next[e]);
    }
    four.store(x, iterate);
    four.store(p, next);
  });
}

}  // namespace subkern
