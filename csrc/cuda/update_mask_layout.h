// Arguments of mask updates, for host code without CUDA too.
#pragma once

#include "kth_largest_layout.h"

namespace subkern {

// Of a block: entries over the threshold and at it, inside and outside the mask.
struct SwapCounts {
  int32_t above[2], equal[2];
};

struct SwapArguments {
  SelectArguments select;  // whose states hold the thresholds, and how many of those at them go
  SwapCounts* counts;      // of each block but where it is the only one
  uint8_t* updated;
  int64_t* lists[2];  // removed and added
};

}  // namespace subkern
