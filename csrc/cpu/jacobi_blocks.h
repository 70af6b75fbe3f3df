// Pairs of columns, matrices side by side in lanes: the order in which they meet, and what turns
// them. Two blocks of four columns go from memory to registers once for several rotations: fetching
// and storing a column takes longer than turning it.
#pragma once

#include "jacobi_lanes.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int kTogether = 4;          // disjoint pairs whose rotations are computed together
constexpr int kPair = 2 * kTogether;  // columns of two blocks
constexpr int kMostRounds = kTogether;

// The pairs inside of two blocks, and the pairs across them: rounds of disjoint ones.
struct Inside {
  static constexpr int kRounds = 3;
  static constexpr int pairs[kRounds][kTogether][2] = {{{0, 1}, {2, 3}, {4, 5}, {6, 7}},
                                                       {{0, 2}, {1, 3}, {4, 6}, {5, 7}},
                                                       {{0, 3}, {1, 2}, {4, 7}, {5, 6}}};
};
struct Across {
  static constexpr int kRounds = 4;
  static constexpr int pairs[kRounds][kTogether][2] = {{{0, 4}, {1, 5}, {2, 6}, {3, 7}},
                                                       {{0, 5}, {1, 6}, {2, 7}, {3, 4}},
                                                       {{0, 6}, {1, 7}, {2, 4}, {3, 5}},
                                                       {{0, 7}, {1, 4}, {2, 5}, {3, 6}}};
};

// Calls body(first columns of two blocks, Inside or Across) so that all pairs of n columns meet.
// The second block may be past the end, or reach past it.
template <class Body>
SUBKERN_INLINE void for_blocks(int64_t n, const Body& body) {
  for (int64_t first = 0; first < n; first += kPair) body(first, first + kTogether, Inside{});
  for (int64_t first = 0; first < n; first += kTogether) {
    for (int64_t other = first + kTogether; other < n; other += kTogether) {
      body(first, other, Across{});
    }
  }
}

// Calls body(pairs, Count<size>) for the pairs of two blocks, disjoint within a call.
template <class Order, class Body>
SUBKERN_INLINE void for_pairs(int64_t first, int64_t other, int64_t n, Order, const Body& body) {
  for (const auto& round : Order::pairs) {
    int64_t pairs[kTogether][2];
    int waiting = 0;
    for (const auto& pair : round) {
      const int64_t i = pair[0] < kTogether ? first + pair[0] : other + pair[0] - kTogether;
      const int64_t j = pair[1] < kTogether ? first + pair[1] : other + pair[1] - kTogether;
      if (i >= n || j >= n) continue;
      pairs[waiting][0] = i;
      pairs[waiting++][1] = j;
    }
    if (waiting == kTogether) {
      body(pairs, Count<kTogether>{});
    } else {
      for (int k = 0; k < waiting; ++k) body(pairs + k, Count<1>{});
    }
  }
}

template <bool kSwaps>
SUBKERN_INLINE void turn_entries(const Rotation& rotation, Mask swap, Vec& x, Vec& y) {
  rotation.apply(x, y);
  if constexpr (kSwaps) {
    const Vec turned = x;
    x = pick(swap, y, x);
    y = pick(swap, turned, y);
  }
}

// Rows [i, i + kRows) of columns p and q.
template <bool kSwaps, int kRows>
SUBKERN_INLINE void turn_pair_rows(const Rotation& rotation, Mask swap, float* p, float* q,
                                   int64_t i) {
  Vec x[kRows], y[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    x[r] = held(at(p, i + r));
    y[r] = held(at(q, i + r));
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    turn_entries<kSwaps>(rotation, swap, x[r], y[r]);
    put(p, i + r, x[r]);
    put(q, i + r, y[r]);
  }
}

template <bool kSwaps>
SUBKERN_INLINE void turn_columns(const Rotation& rotation, Mask swap, float* p, float* q,
                                 int64_t height) {
  int64_t i = 0;
  for (; i + 4 <= height; i += 4) turn_pair_rows<kSwaps, 4>(rotation, swap, p, q, i);
  for (; i < height; ++i) turn_pair_rows<kSwaps, 1>(rotation, swap, p, q, i);
}

// The rotations of one meeting of two blocks. Lanes that do not turn have the zero rotation.
struct Turns {
  Rotation rotation[kMostRounds * kTogether];
  Mask swap[kMostRounds * kTogether];  // the columns change places as well
};

// g: inner products of the pairs of a round, even and odd rows summed apart as turn_round does: a
// lane must not see which of the two the others call for.
template <class Order, int kRound>
SUBKERN_INLINE void inner_products(float* const* columns, int64_t height, Vec* g) {
#pragma GCC unroll 4
  for (int k = 0; k < kTogether; ++k) {
    const float* const p = columns[Order::pairs[kRound][k][0]];
    const float* const q = columns[Order::pairs[kRound][k][1]];
    Vec even = zero(), odd = zero();
    int64_t i = 0;
    for (; i + 2 <= height; i += 2) {
      even = fma(at(p, i), at(q, i), even);
      odd = fma(at(p, i + 1), at(q, i + 1), odd);
    }
    if (i < height) even = fma(at(p, i), at(q, i), even);
    g[k] = add(even, odd);
  }
}

// Turns eight columns by the rotations of a round; g: the inner products of the next one's pairs.
template <class Order, int kRound, bool kSwaps>
SUBKERN_INLINE void turn_round(const Turns& turns, float* const* columns, int64_t height, Vec* g) {
  constexpr int kNext = kRound + 1 < Order::kRounds ? kRound + 1 : 0;
  Rotation rotation[kTogether];
  Mask swap[kTogether];
  Vec even[kTogether], odd[kTogether];
#pragma GCC unroll 4
  for (int k = 0; k < kTogether; ++k) {
    rotation[k] = turns.rotation[kRound * kTogether + k];
    swap[k] = turns.swap[kRound * kTogether + k];
    even[k] = odd[k] = zero();
  }
  const auto row = [&](int64_t i, Vec* sums) {
    Vec x[kPair];
#pragma GCC unroll 8
    for (int c = 0; c < kPair; ++c) x[c] = held(at(columns[c], i));
#pragma GCC unroll 4
    for (int k = 0; k < kTogether; ++k) {
      constexpr auto& pairs = Order::pairs[kRound];
      turn_entries<kSwaps>(rotation[k], swap[k], x[pairs[k][0]], x[pairs[k][1]]);
    }
#pragma GCC unroll 4
    for (int k = 0; k < kTogether; ++k) {
      constexpr auto& pairs = Order::pairs[kNext];
      if (kNext > 0) sums[k] = fma(x[pairs[k][0]], x[pairs[k][1]], sums[k]);
    }
#pragma GCC unroll 8
    for (int c = 0; c < kPair; ++c) put(columns[c], i, x[c]);
  };
  int64_t i = 0;
  for (; i + 2 <= height; i += 2) {
    row(i, even);
    row(i + 1, odd);
  }
  if (i < height) row(i, even);
#pragma GCC unroll 4
  for (int k = 0; k < kTogether; ++k) g[k] = add(even[k], odd[k]);
}

// Turns rows [i, i + kRows) of eight columns by the rotations of all rounds.
template <class Order, bool kSwaps, int kRows>
SUBKERN_INLINE void turn_all_rows(const Turns& turns, float* const* columns, int64_t i) {
  Vec x[kRows][kPair];
#pragma GCC unroll 8
  for (int c = 0; c < kPair; ++c) {
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) x[r][c] = held(at(columns[c], i + r));
  }
#pragma GCC unroll 4
  for (int round = 0; round < Order::kRounds; ++round) {
#pragma GCC unroll 4
    for (int k = 0; k < kTogether; ++k) {
      const Rotation& rotation = turns.rotation[round * kTogether + k];
      const Mask swap = turns.swap[round * kTogether + k];
      const int p = Order::pairs[round][k][0], q = Order::pairs[round][k][1];
#pragma GCC unroll 2
      for (int r = 0; r < kRows; ++r) turn_entries<kSwaps>(rotation, swap, x[r][p], x[r][q]);
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < kPair; ++c) {
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) put(columns[c], i + r, x[r][c]);
  }
}

template <class Order, bool kSwaps>
SUBKERN_INLINE void turn_all(const Turns& turns, float* const* columns, int64_t height) {
  int64_t i = 0;
  for (; i + 2 <= height; i += 2) turn_all_rows<Order, kSwaps, 2>(turns, columns, i);
  if (i < height) turn_all_rows<Order, kSwaps, 1>(turns, columns, i);
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
