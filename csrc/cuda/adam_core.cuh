// The Adam core: what one element and one step size do, for adam.cuh and lowrank_adam.cuh.
#pragma once

#include "prims.cuh"

namespace subkern {

// Constants of a call; the step size depends on each parameter's own step count.
struct AdamScalars {
  const float* lr_address;  // read by the kernels unless null
  double lr;
  double weight_decay;
  double ln_beta1, ln_beta2;
  float beta1, one_minus_beta1, beta2, one_minus_beta2, eps;
  bool post_decay, correct_bias, check_finite;
};

// eta includes the decay where that acts after the update: W <- decay W - eta U.
struct StepFactors {
  double eta;
  double decay;
};

// `step` is the count before this step. 1 - beta^t comes from expm1: for a beta next to one the
// difference would cancel.
__device__ __forceinline__ StepFactors step_factors(const AdamScalars& s, float step) {
  const double lr = s.lr_address != nullptr ? static_cast<double>(*s.lr_address) : s.lr;
  const double decay = 1.0 - lr * s.weight_decay;
  double eta = lr;
  if (s.correct_bias) {
    const double t = static_cast<double>(step + 1.0f);
    eta *= sqrt(-expm1(t * s.ln_beta2)) / -expm1(t * s.ln_beta1);
  }
  return {s.post_decay ? eta * decay : eta, decay};
}

// Updates the moments and returns N = M / (sqrt(V) + eps).
__device__ __forceinline__ float adam_direction(const AdamScalars& s, float r, float& m, float& v) {
  m = fmaf(s.beta1, m, s.one_minus_beta1 * r);
  v = fmaf(s.beta2, v, s.one_minus_beta2 * (r * r));
  return m / (sqrtf(v) + s.eps);
}

}  // namespace subkern
