// Groups of numbers cut into blocks for threads; used by the files compiled once.
#pragma once

#include "subkern/group_dot.h"
#include "work.h"

namespace subkern {

// Calls body(block's number, group, first number, numbers) for the blocks of all groups. They
// depend on n alone, so that a group's sums depend neither on the threads nor on other groups.
template <class Body>
void for_group_blocks(int64_t groups, int64_t n, int threads, const Body& body) {
  const int64_t blocks = blocks_of(n, kGroupBlock);
#pragma omp parallel for num_threads(team_for(groups* n, threads)) schedule(static)
  for (int64_t task = 0; task < groups * blocks; ++task) {
    const int64_t from = task % blocks * kGroupBlock;
    body(task, task / blocks, from, std::min(kGroupBlock, n - from));
  }
}

// The sum of what the blocks of a group left, in their order.
inline double sum_of_group(const double* sums, int64_t group, int64_t n) {
  const int64_t blocks = blocks_of(n, kGroupBlock);
  double total = 0.0;
  for (int64_t block = 0; block < blocks; ++block) total += sums[group * blocks + block];
  return total;
}

}  // namespace subkern
