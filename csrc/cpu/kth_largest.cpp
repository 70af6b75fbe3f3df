// Selection, block by block: what a bracket leaves, and histograms of keys where no bracket held.
#include "kernels.h"
#include "select_lanes.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

template <int kOrdering, class T>
void bracket(const T* x, const uint8_t* mask, int64_t n, float low, float high, float* packed,
             BracketCounts& counts) {
  const Vec lows = splat(low), highs = splat(high);
  Tally over_high, from_high, over_low, from_low;
  float* to = packed;
  for_vectors(n, [&](int64_t i, auto lanes) {
    ask_ahead(x + i);
    const Vec y = ordered<kOrdering>(x + i, mask + i, lanes);
    const Mask over = less(lows, y), reached = at_most(highs, y);
    over_high.count(less(highs, y));
    from_high.count(reached);
    over_low.count(over);
    from_low.count(at_most(lows, y));
    to += pack(to, without(over, reached), y);
  });
  const int64_t above = over_high.total();
  counts = {above, from_high.total() - above, to - packed, from_low.total() - over_low.total()};
}

// Increases with the number; NaN, as which absent ones come, is 0, and zeros of both signs are one.
inline uint32_t key_of(float y) {
  const float x = y + 0.0f;
  uint32_t pattern;
  __builtin_memcpy(&pattern, &x, sizeof(pattern));
  const uint32_t key = pattern ^ (pattern >> 31 != 0 ? 0xffffffffu : 0x80000000u);
  return x == x ? key : 0;
}

template <int kOrdering, class T>
void bins_of(const T* x, const uint8_t* mask, int64_t n, int upper, uint32_t prefix, int lower,
             int64_t* bins) {
  constexpr int64_t kStrip = 256;
  const uint64_t last = (uint64_t{1} << (upper - lower)) - 1;
  float strip[kStrip];
  for (int64_t from = 0; from < n; from += kStrip) {
    const int64_t length = smaller(kStrip, n - from);
    for_vectors(length, [&](int64_t i, auto lanes) {
      store(strip + i, ordered<kOrdering>(x + from + i, mask + from + i, lanes), lanes);
    });
    for (int64_t i = 0; i < length; ++i) {
      const uint64_t key = key_of(strip[i]);
      bins[key >> lower & last] += key >> upper == prefix;
    }
  }
}

inline const uint8_t* mask_from(const Scores& scores, int64_t from) {
  return scores.mask == nullptr ? nullptr : scores.mask + from;
}

}  // namespace

void sk_select_bracket(const Scores& scores, int64_t from, int64_t n, float low, float high,
                       float* packed, BracketCounts* counts) {
  with_ordering(scores, from, [&](auto ordering, auto* x) {
    bracket<decltype(ordering)::value>(x, mask_from(scores, from), n, low, high, packed, *counts);
  });
}

void sk_select_bins(const Scores& scores, int64_t from, int64_t n, int upper, uint32_t prefix,
                    int lower, int64_t* bins) {
  with_ordering(scores, from, [&](auto ordering, auto* x) {
    bins_of<decltype(ordering)::value>(x, mask_from(scores, from), n, upper, prefix, lower, bins);
  });
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
