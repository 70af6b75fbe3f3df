// Blocks of a step of conjugate gradients, each vector read and written once.
#include <cstdint>

#include "kernels.h"
#include "simd_dot.h"

namespace subkern {
namespace SUBKERN_ISA {

double sk_cg_residual_block(float* r, const float* q, float step, int64_t n) {
  const Vec steps = splat(step);
  DotLanes even, odd;
  const auto move = [&](int64_t i, auto lanes, DotLanes& squares) {
    const Vec next = fnma(steps, load(q + i, lanes), load(r + i, lanes));
    store(r + i, next, lanes);
    squares.add(next, next);
  };
  int64_t i = 0;
  for (; i + 2 * kWidth <= n; i += 2 * kWidth) {
    move(i, All{}, even);
    move(i + kWidth, All{}, odd);
  }
  for_vectors(n - i, [&](int64_t k, auto lanes) { move(i + k, lanes, even); });
  return sum(even, odd);
}

void sk_cg_direction_block(float* x, float* p, const float* z, float alpha, float beta, int64_t n) {
  const Vec alphas = splat(alpha), betas = splat(beta);
  for_vectors(n, [&](int64_t i, auto lanes) {
    const Vec direction = load(p + i, lanes);
    store(x + i, fma(alphas, direction, load(x + i, lanes)), lanes);
    store(p + i, fma(betas, direction, load(z + i, lanes)), lanes);
  });
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
