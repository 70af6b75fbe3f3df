// What a step of conjugate gradients makes of a group's numbers: subkern/reference/cg_step.py for
// one group, for kernels and for the CPU.
#pragma once

#include "host_device.h"

namespace subkern {

// A row of the state, whose columns these are.
struct CgState {
  double rho, rr, target, floor, best, stalled, status, iterations, alpha, beta;
};

struct CgStatus {
  static constexpr double kRunning = -1.0, kConverged = 0.0, kStagnated = 2.0, kCurvature = 3.0,
                          kNonfinite = 4.0;
};

SK_BOTH inline bool is_finite(double x) { return x - x == 0.0; }

// The state before the first step, of |r|^2, |b|^2 and the rounding of the vectors.
SK_BOTH inline CgState cg_start(double rr, double bb, double rtol, double atol, double eps) {
  CgState state{rr, rr, 0.0, 0.0, rr, 0.0, CgStatus::kRunning, 0.0, 0.0, 0.0};
  double target = 0.0;
  bool finite = is_finite(rr);
  if (rtol != 0.0 || atol != 0.0) {
    target = rtol * rtol * bb;
    if (target < atol * atol) target = atol * atol;
    state.floor = eps * eps * bb;
    state.target = target < state.floor ? 0.0 : target;
    finite = finite && is_finite(bb);
  }
  if (rr <= target) state.status = CgStatus::kConverged;
  if (!finite) state.status = CgStatus::kNonfinite;
  return state;
}

// Whether a step may be taken: only then are its vectors looked at.
SK_BOTH inline bool cg_moves(const CgState& state, double curvature) {
  return state.status == CgStatus::kRunning && is_finite(curvature) && curvature > 0.0;
}

// The state after a step of size `alpha` (0: none) that left squared residuals `rr`.
SK_BOTH inline CgState cg_judge(CgState state, double curvature, double alpha, double rr) {
  constexpr double kPatience = 8.0, kNear = 1e4;
  state.alpha = 0.0;
  if (state.status != CgStatus::kRunning) return state;
  const double stalled = rr < state.best ? 0.0 : state.stalled + 1.0;
  const bool stuck = rr <= state.floor || (stalled >= kPatience && rr <= kNear * state.floor);
  if (stuck) state.status = CgStatus::kStagnated;
  if (rr <= state.target) state.status = CgStatus::kConverged;
  if (!is_finite(rr)) state.status = CgStatus::kNonfinite;
  if (!(curvature > 0.0)) state.status = CgStatus::kCurvature;
  if (!is_finite(curvature)) state.status = CgStatus::kNonfinite;
  if (alpha == 0.0 || state.status == CgStatus::kNonfinite) return state;
  state.beta = rr / state.rho;
  state.rho = state.rr = rr;
  state.best = rr < state.best ? rr : state.best;
  state.stalled = stalled;
  state.iterations += 1.0;
  state.alpha = alpha;
  return state;
}

}  // namespace subkern
