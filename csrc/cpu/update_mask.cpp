// A block of a mask: its count, and what leaves and enters by thresholds that are known.
#include "kernels.h"
#include "select_lanes.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

// Appends the lanes that are chosen, and of the ties the first `left`; sets their bytes.
inline void swap_lanes(uint32_t chosen, uint32_t ties, int64_t index, uint8_t value, int64_t& left,
                       int64_t*& list, uint8_t* updated) {
  if (left == 0) ties = 0;
  for (uint32_t lanes = chosen | ties; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    if (ties >> lane & 1) {
      if (left == 0) continue;
      --left;
    }
    *list++ = index + lane;
    updated[lane] = value;
  }
}

template <class T>
void swap_block(const MaskSwap& s, const T* remove, const T* add, const SwapBlock& b) {
  const Vec leave = splat(b.leave), enter = splat(b.enter);
  int64_t leave_ties = b.leave_ties, enter_ties = b.enter_ties;
  int64_t *removed = b.removed, *added = b.added;
  const uint8_t* const mask = s.mask + b.from;
  uint8_t* const updated = s.updated + b.from;
  __builtin_memcpy(updated, mask, static_cast<uint64_t>(b.n));
  for_vectors(b.n, [&](int64_t i, auto lanes) {
    ask_ahead(remove + i);
    ask_ahead(add + i);
    const Vec out = ordered<kInside>(remove + i, mask + i, lanes);
    const Vec in = ordered<kOutside>(add + i, mask + i, lanes);
    const uint32_t leaves = bits(at_most(leave, out)), enters = bits(at_most(enter, in));
    if ((leaves | enters) == 0) return;
    const uint32_t surely_leaves = bits(less(leave, out)), surely_enters = bits(less(enter, in));
    swap_lanes(surely_leaves, leaves & ~surely_leaves, b.from + i, 0, leave_ties, removed,
               updated + i);
    swap_lanes(surely_enters, enters & ~surely_enters, b.from + i, 1, enter_ties, added,
               updated + i);
  });
}

}  // namespace

int64_t sk_mask_count(const uint8_t* mask, int64_t n) {
  constexpr int64_t kStrip = 4096;
  int64_t total = 0;
  for (int64_t from = 0; from < n; from += kStrip) {
    const int64_t length = smaller(kStrip, n - from);
    uint32_t count = 0;
    for (int64_t i = 0; i < length; ++i) count += mask[from + i] != 0;
    total += count;
  }
  return total;
}

void sk_swap_block(const MaskSwap& swap, const SwapBlock& block) {
  with_type(swap.score_remove, swap.dtype, [&](auto* remove) {
    using T = decltype(+remove);
    const T add = static_cast<T>(swap.score_add);
    swap_block(swap, remove + block.from, add + block.from, block);
  });
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
