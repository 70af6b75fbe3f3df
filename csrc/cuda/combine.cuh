// Sums of basis vectors: each is read once, and so is what they are added to.
#pragma once

#include "combine_layout.h"
#include "group_blocks.cuh"

namespace subkern {

__global__ void __launch_bounds__(kGroupThreads)
    combine_kernel(const __grid_constant__ CombineArguments a) {
  SK_SHARED(float, factors, kCombineFactors);
  const GroupPart part(a.n);
  const int64_t before = part.group * a.m;  // vectors of the groups in front
  const float* V = a.V + before * a.n + (part.at - part.group * a.n);
  float* const out = a.out + part.at;
  const float* from = a.z + part.at;
  const bool aligned =
      is_aligned(from) && is_aligned(out) && is_aligned(V) && (a.n % 4 == 0 || a.m == 1);
  int64_t done = 0;
  do {
    const int count = static_cast<int>(a.m - done < kCombineFactors ? a.m - done : kCombineFactors);
    __syncthreads();
    for (int j = threadIdx.x; j < count; j += kGroupThreads) {
      factors[j] = static_cast<float>(a.coefficients[before + done + j]);
    }
    __syncthreads();
    for_fours(part.count, aligned, [&](const GroupFour& four) {
      float total[4];
      four.load(from, total);
#pragma unroll 4
      for (int j = 0; j < count; ++j) {
        float x[4];
        four.load(V + j * a.n, x);
#pragma unroll
        for (int e = 0; e < 4; ++e) total[e] = fmaf(factors[j], x[e], total[e]);
      }
      four.store(out, total);
    });
    from = out;
    V += count * a.n;
    done += count;
  } while (done < a.m);
}

}  // namespace subkern
