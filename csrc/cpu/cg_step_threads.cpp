// A start and a step on threads.
#include <limits>

#include "../cuda/cg_state.h"
#include "group_blocks.h"
#include "subkern/cg_step.h"

namespace subkern {

static_assert(sizeof(CgState) == kCgColumns * sizeof(double), "a row of the state");

int64_t cg_start_workspace(int64_t groups, int64_t n) {
  return group_dot_workspace(groups, n) + 2 * groups * static_cast<int64_t>(sizeof(double));
}

void sk_cg_start(const CgStart& c, int threads) {
  double *const rr = c.sums, *const bb = c.sums + c.groups, *const sums = bb + c.groups;
  sk_group_dot({c.r, c.r, c.groups, c.n, rr, sums}, threads);
  if (c.b != nullptr) sk_group_dot({c.b, c.b, c.groups, c.n, bb, sums}, threads);
  CgState* const states = reinterpret_cast<CgState*>(c.state);
  for (int64_t g = 0; g < c.groups; ++g) {
    states[g] = cg_start(rr[g], (c.b == nullptr ? rr : bb)[g], c.rtol, c.atol,
                         std::numeric_limits<float>::epsilon());
  }
}

int64_t cg_step_workspace(int64_t groups, int64_t n) { return group_dot_workspace(groups, n); }

void sk_cg_step_residual(const CgResidual& c, int threads) {
  const Kernels& kernels = active_kernels();
  CgState* const states = reinterpret_cast<CgState*>(c.state);
  const auto moves = [&](int64_t group) { return cg_moves(states[group], c.curvature[group]); };
  const auto size = [&](int64_t group) { return states[group].rho / c.curvature[group]; };
  for_group_blocks(
      c.groups, c.n, threads, [&](int64_t task, int64_t group, int64_t from, int64_t count) {
        if (!moves(group)) return;
        float* const r = c.r + group * c.n + from;
        const float step = static_cast<float>(size(group));
        // A step that rounds to 0 leaves r alone, whatever q holds.
        c.sums[task] = step == 0.0f
                           ? kernels.sk_group_dot_block(r, r, count)
                           : kernels.sk_cg_residual_block(r, c.q + group * c.n + from, step, count);
      });
  for (int64_t g = 0; g < c.groups; ++g) {
    const bool moved = moves(g);
    const double rr = moved ? sum_of_group(c.sums, g, c.n) : 0.0;
    states[g] = cg_judge(states[g], c.curvature[g], moved ? size(g) : 0.0, rr);
  }
}

void sk_cg_step_direction(const CgDirection& c, int threads) {
  const Kernels& kernels = active_kernels();
  const CgState* const states = reinterpret_cast<const CgState*>(c.state);
  for_group_blocks(
      c.groups, c.n, threads, [&](int64_t, int64_t group, int64_t from, int64_t count) {
        const CgState& state = states[group];
        if (state.alpha == 0.0) return;
        const int64_t at = group * c.n + from;
        kernels.sk_cg_direction_block(c.x + at, c.p + at, c.z + at, static_cast<float>(state.alpha),
                                      static_cast<float>(state.beta), count);
      });
}

void sk_cg_step(const CgStep& c, int threads) {
  const double* curvature = c.curvature;
  if (curvature == nullptr) {
    sk_group_dot({c.p, c.q, c.groups, c.n, c.sums, c.sums + c.groups}, threads);
    curvature = c.sums;
  }
  sk_cg_step_residual({c.r, c.q, curvature, c.state, c.groups, c.n, c.sums + c.groups}, threads);
  sk_cg_step_direction({c.x, c.p, c.r, c.state, c.groups, c.n}, threads);
}

}  // namespace subkern
