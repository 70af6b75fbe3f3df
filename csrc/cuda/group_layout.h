// How groups of numbers are cut into blocks, for host code without CUDA too.
#pragma once

#include "host_device.h"

namespace subkern {

constexpr int kGroupThreads = 256, kGroupMost = 1024;  // blocks of a group, at most
constexpr int64_t kGroupLeast = 2048;                  // numbers of a block, at least

// Numbers of a block, from the length of a group alone, and how many blocks that makes.
SK_BOTH inline int64_t group_part_of(int64_t n) {
  const int64_t even = (n + kGroupMost - 1) / kGroupMost;
  const int64_t whole = (even + kGroupLeast - 1) / kGroupLeast * kGroupLeast;
  return whole > kGroupLeast ? whole : kGroupLeast;
}
SK_BOTH inline int64_t group_parts_of(int64_t n) {
  return n > 0 ? (n + group_part_of(n) - 1) / group_part_of(n) : 1;
}

// Where the blocks of a launch leave their sums: group by group, and a counter of each at zero.
// Both null where a group has one block.
struct GroupSums {
  double* sums;
  int32_t* counters;
};

}  // namespace subkern
