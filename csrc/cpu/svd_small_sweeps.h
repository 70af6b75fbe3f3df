// One-sided Jacobi: columns of Y, one matrix per lane, are turned until they are orthogonal, and
// those of `left` with them.
#pragma once

#include "jacobi_blocks.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

// Squared norms of n columns of `height` entries; returns the largest.
inline Vec measure(const Columns& X, int64_t n, int64_t height, float* norms) {
  Vec largest = zero();
  for (int64_t j = 0; j < n; ++j) {
    const Vec a = lanes_dot(X[j], X[j], height);
    put(norms, j, a);
    largest = larger(largest, a);
  }
  return largest;
}

struct SvdSweeps {
  int64_t n;
  Columns Y, left;  // n columns, of which the first n entries are turned
  float* norms;     // squared, of the columns of Y

  // What a sweep goes by: squared norms up to `null` are those of null columns, columns up to
  // `floor` are left alone; and what it did.
  struct Sweep {
    Mask active;
    Vec null, floor;
    Mask turned, counted;
  };

  // The rotations that make kPairs disjoint pairs of columns orthogonal, their waits overlapped,
  // and the norms after them; whether any lane turns or swaps.
  template <int kPairs>
  SUBKERN_INLINE bool find(const int64_t (*pairs)[2], const Vec* g, Sweep& sweep,
                           Rotation* rotation, Mask* swap) const {
    Vec a[kPairs], b[kPairs];
    Mask turns[kPairs], acts = nowhere();
    for (int k = 0; k < kPairs; ++k) {
      a[k] = at(norms, pairs[k][0]);
      b[k] = at(norms, pairs[k][1]);
      const Vec limit = mul(splat(4.0f * kEps * kEps), mul(a[k], b[k]));
      const Vec shorter = smaller(a[k], b[k]);
      turns[k] = both(both(sweep.active, less(limit, mul(g[k], g[k]))), less(sweep.floor, shorter));
      swap[k] = both(sweep.active, less(a[k], b[k]));  // the longer column comes first
      acts = either(acts, either(turns[k], swap[k]));
      sweep.counted = either(sweep.counted, both(turns[k], less(sweep.null, shorter)));
    }
    // An exchange changes who meets whom: after it a sweep has not seen every pair.
    sweep.turned = either(sweep.turned, acts);
    if (!any(acts)) return false;
    for (int k = 0; k < kPairs; ++k) rotation[k] = Rotation(a[k], b[k], g[k], turns[k], Near{});
    for (int k = 0; k < kPairs; ++k) {
      const Vec moved = mul(rotation[k].tangent, g[k]);
      const Vec at_p = larger(sub(a[k], moved), zero()), at_q = larger(add(b[k], moved), zero());
      put(norms, pairs[k][0], pick(swap[k], at_q, at_p));
      put(norms, pairs[k][1], pick(swap[k], at_p, at_q));
    }
    return true;
  }

  SUBKERN_INLINE void turn_pair(const int64_t (*pair)[2], Sweep& sweep) const {
    const int64_t p = pair[0][0], q = pair[0][1];
    const Vec g = lanes_dot(Y[p], Y[q], n);
    Rotation rotation;
    Mask swap;
    if (!find<1>(pair, &g, sweep, &rotation, &swap)) return;
    turn_columns<true>(rotation, swap, Y[p], Y[q], n);
    turn_columns<true>(rotation, swap, left[p], left[q], n);
  }

  // One meeting of eight columns, from this round on; g: the inner products of its pairs.
  template <class Order, int kRound>
  SUBKERN_INLINE void turn_rounds(const int64_t* columns, float* const* in_Y, Vec* g, Sweep& sweep,
                                  Turns& turns, bool& acts, bool& swaps) const {
    int64_t pairs[kTogether][2];
    for (int k = 0; k < kTogether; ++k) {
      pairs[k][0] = columns[Order::pairs[kRound][k][0]];
      pairs[k][1] = columns[Order::pairs[kRound][k][1]];
    }
    Rotation* const rotation = turns.rotation + kRound * kTogether;
    Mask* const swap = turns.swap + kRound * kTogether;
    if (find<kTogether>(pairs, g, sweep, rotation, swap)) {
      acts = true;
      if (any(either(either(swap[0], swap[1]), either(swap[2], swap[3])))) {
        swaps = true;
        turn_round<Order, kRound, true>(turns, in_Y, n, g);
      } else {
        turn_round<Order, kRound, false>(turns, in_Y, n, g);
      }
    } else {
      for (int k = 0; k < kTogether; ++k) rotation[k] = Rotation::none();
      if constexpr (kRound + 1 < Order::kRounds) inner_products<Order, kRound + 1>(in_Y, n, g);
    }
    if constexpr (kRound + 1 < Order::kRounds) {
      turn_rounds<Order, kRound + 1>(columns, in_Y, g, sweep, turns, acts, swaps);
    }
  }

  template <class Order>
  void turn_blocks(int64_t first, int64_t other, Sweep& sweep) const {
    int64_t columns[kPair];
    float *in_Y[kPair], *in_left[kPair];
    for (int c = 0; c < kPair; ++c) {
      columns[c] = c < kTogether ? first + c : other + c - kTogether;
      in_Y[c] = Y[columns[c]];
      in_left[c] = left[columns[c]];
    }
    Turns turns;
    Vec g[kTogether];
    bool acts = false, swaps = false;
    inner_products<Order, 0>(in_Y, n, g);
    turn_rounds<Order, 0>(columns, in_Y, g, sweep, turns, acts, swaps);
    if (!acts) return;
    swaps ? turn_all<Order, true>(turns, in_left, n) : turn_all<Order, false>(turns, in_left, n);
  }

  void run(Lanes& lanes) const {
    Sweep sweep;
    sweep.active = less(zero(), load(lanes.good, All{}));
    // Below the null columns there is rounding: turning it on would never end. For the sake of
    // graded columns a little of what lies there is turned along until the others are done.
    Mask along = sweep.active;
    for (int count = 0; count < kSweeps && any(sweep.active); ++count) {
      sweep.null = mul(splat(4.0f * kEps * kEps), measure(Y, n, n, norms));
      sweep.floor = mul(sweep.null, pick(along, splat(1.0f / 16.0f), splat(1.0f)));
      sweep.turned = sweep.counted = nowhere();
      for_blocks(n, [&](int64_t first, int64_t other, auto order) {
        if (other + kTogether <= n) {
          turn_blocks<decltype(order)>(first, other, sweep);
        } else {
          for_pairs(first, other, n, order, [&](const int64_t (*pairs)[2], auto count) {
            for (int k = 0; k < decltype(count)::value; ++k) turn_pair(pairs + k, sweep);
          });
        }
      });
      sweep.active = both(sweep.active, sweep.turned);
      along = both(along, sweep.counted);
    }
    mark_unconverged(sweep.active, lanes);
  }
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
