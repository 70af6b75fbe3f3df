// Sums of basis vectors on threads.
#include "group_blocks.h"
#include "subkern/combine.h"

namespace subkern {

void sk_combine(const Combine& c, int threads) {
  const Kernels& kernels = active_kernels();
  for_group_blocks(c.groups, c.n, threads,
                   [&](int64_t, int64_t group, int64_t from, int64_t count) {
                     const int64_t at = group * c.n + from;
                     kernels.sk_combine_block(c.out + at, c.z + at, c.V + group * c.m * c.n + from,
                                              c.n, c.coefficients + group * c.m, c.m, count);
                   });
}

}  // namespace subkern
