// What the launches of kernels on groups of numbers share.
#pragma once

#include "group_layout.h"
#include "launch_plan.h"

namespace subkern {

// A launch with a row of blocks for each group.
inline LaunchShape group_shape(int64_t groups, int64_t n) {
  return {groups, group_parts_of(n), kGroupThreads, 0};
}

// Bytes in which blocks leave their sums; none where a group has one block.
inline int64_t group_sums_bytes(int64_t groups, int64_t n) {
  const int64_t parts = group_parts_of(n);
  return parts > 1 ? groups * parts * static_cast<int64_t>(sizeof(double)) : 0;
}

}  // namespace subkern
