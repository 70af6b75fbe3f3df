// The inner product of a block.
#include <cstdint>

#include "kernels.h"
#include "simd_dot.h"

namespace subkern {
namespace SUBKERN_ISA {

double sk_group_dot_block(const float* u, const float* v, int64_t n) {
  DotLanes even, odd;
  int64_t i = 0;
  for (; i + 2 * kWidth <= n; i += 2 * kWidth) {
    even.add(u + i, v + i);
    odd.add(u + i + kWidth, v + i + kWidth);
  }
  for_vectors(n - i, [&](int64_t k, auto lanes) {
    even.add(load(u + i + k, lanes), load(v + i + k, lanes));
  });
  return sum(even, odd);
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
