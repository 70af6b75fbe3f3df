// Inner products of groups of numbers: products and sums in double.
#pragma once

#include "group_blocks.cuh"
#include "group_dot_layout.h"

namespace subkern {

__global__ void __launch_bounds__(kGroupThreads)
    group_dot_kernel(const __grid_constant__ GroupDotArguments a) {
  SK_SHARED(double, buffer, kGroupThreads);
  SK_SHARED(int, last, 1);
  const GroupPart part(a.n);
  const float *const u = a.u + part.at, *const v = a.v + part.at;
  double sum = 0.0;
  for_fours(part.count, is_aligned(u) && is_aligned(v), [&](const GroupFour& four) {
    float x[4], y[4];
    four.load(u, x);
    four.load(v, y);
#pragma unroll
    for (int e = 0; e < 4; ++e)
      sum = fma(static_cast<double>(x[e]), static_cast<double>(y[e]), sum);
  });
  if (sum_group(sum, a.to, buffer, last, &sum) && threadIdx.x == 0) a.dot[part.group] = sum;
}

}  // namespace subkern
