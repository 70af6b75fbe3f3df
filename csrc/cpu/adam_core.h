// The Adam core on one vector, shared by adam.cpp and lowrank_adam.cpp of a variant.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

struct AdamCore {
  Vec beta1, one_minus_beta1, beta2, one_minus_beta2, eps;

  explicit AdamCore(const AdamConstants& c)
      : beta1(splat(c.beta1)),
        one_minus_beta1(splat(c.one_minus_beta1)),
        beta2(splat(c.beta2)),
        one_minus_beta2(splat(c.one_minus_beta2)),
        eps(splat(c.eps)) {}

  // Updates the moments and returns N = M / (sqrt(V) + eps).
  SUBKERN_INLINE Vec operator()(Vec r, Vec& m, Vec& v) const {
    m = fma(beta1, m, mul(one_minus_beta1, r));
    v = fma(beta2, v, mul(one_minus_beta2, mul(r, r)));
    return div(m, add(root(v), eps));
  }
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
