// What the bindings of kernels on groups of vectors check on a device.
#pragma once

#include "checks.h"

namespace subkern {

// groups * n; a launch has blocks for at most so many groups.
inline std::int64_t check_groups(const Check& check, std::int64_t groups, std::int64_t n) {
  const std::int64_t numbers = check.elements("groups", groups, "n", n);
  if (groups >> 31 != 0) check.fail("groups", "be below 2^31", std::to_string(groups));
  return numbers;
}

// Where blocks leave their sums, and the counters of the groups.
inline void check_sums(const Check& check, Address space, std::int64_t bytes, std::int64_t needed,
                       Address counters) {
  check.workspace(space, bytes, needed);
  if (space % 8 != 0) check.fail("workspace", "be aligned to 8 bytes", std::to_string(space));
  check.pointer("counters", counters, needed > 0);
}

}  // namespace subkern
