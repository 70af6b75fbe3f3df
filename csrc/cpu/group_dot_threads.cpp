// Inner products on threads.
#include "group_blocks.h"

namespace subkern {

int64_t group_dot_workspace(int64_t groups, int64_t n) {
  return groups * blocks_of(n, kGroupBlock) * static_cast<int64_t>(sizeof(double));
}

void sk_group_dot(const GroupDot& d, int threads) {
  const Kernels& kernels = active_kernels();
  for_group_blocks(d.groups, d.n, threads,
                   [&](int64_t task, int64_t group, int64_t from, int64_t count) {
                     const int64_t at = group * d.n + from;
                     d.sums[task] = kernels.sk_group_dot_block(d.u + at, d.v + at, count);
                   });
  for (int64_t g = 0; g < d.groups; ++g) d.dot[g] = sum_of_group(d.sums, g, d.n);
}

}  // namespace subkern
