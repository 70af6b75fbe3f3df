// Selection in an instruction-set variant: single-threaded, for one block of numbers.
#pragma once

#include "subkern/kth_largest.h"
#include "subkern/update_mask.h"

namespace subkern {

// Numbers of a block by where they stand to a bracket low <= high.
struct BracketCounts {
  int64_t above;    // > high
  int64_t at_high;  // == high
  int64_t inner;    // between; packed
  int64_t at_low;   // == low
};

constexpr int kSelectBins = 2048;   // of the 11 leading bits of what is left of a key
constexpr int64_t kSelectPad = 16;  // numbers beyond the packed ones that may be written

// What leaves and enters in one block: entries above the threshold, and the first ties.
struct SwapBlock {
  int64_t from, n;
  float leave, enter;              // thresholds, in the order of kInside and kOutside
  int64_t leave_ties, enter_ties;  // how many of those equal to them
  int64_t* removed;                // where the block's indices go
  int64_t* added;
};

#define SUBKERN_SELECT_KERNELS(KERNEL)                                                            \
  /* Counts n numbers from `from` on, and packs those between: room for n + kSelectPad; packed    \
     may be the numbers themselves. */                                                            \
  KERNEL(void, sk_select_bracket,                                                                 \
         (const Scores& scores, int64_t from, int64_t n, float low, float high, float* packed,    \
          BracketCounts* counts))                                                                 \
  /* Of the numbers whose key >> upper is prefix (upper 32: of all), counts in bins how many have \
     each value of the bits [lower, upper) of their key; at most 11 bits. */                      \
  KERNEL(void, sk_select_bins,                                                                    \
         (const Scores& scores, int64_t from, int64_t n, int upper, uint32_t prefix, int lower,   \
          int64_t* bins))                                                                         \
  /* Bytes of mask[0, n) that are not 0. */                                                       \
  KERNEL(int64_t, sk_mask_count, (const uint8_t* mask, int64_t n))                                \
  KERNEL(void, sk_swap_block, (const MaskSwap& swap, const SwapBlock& block))

}  // namespace subkern
