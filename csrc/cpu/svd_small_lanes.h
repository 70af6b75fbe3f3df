// One-sided Jacobi on matrices of at most 32 columns, one per lane: A P = Q R with the longest
// column first, then P R^T, whose columns are nearly orthogonal already: P R^T V = U S makes
// A = (Q V) S U^T.
#pragma once

#include "jacobi_blocks.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

struct SvdLanes {
  int64_t m, n;
  Columns A;                      // m entries: the matrix, then the reflectors of Q
  Columns left;                   // m entries: V, then Q V
  Columns Y;                      // n entries: P R^T, then U
  float *norms, *betas, *places;  // n vectors each; norms become the singular values
  float* scratch;                 // n (n + 4) vectors

  static int64_t floats(int64_t m, int64_t n) {
    return (2 * n * m + n * n + 3 * n + n * (n + 4)) * kWidth;
  }

  SvdLanes(int64_t m_, int64_t n_, float* memory)
      : m(m_),
        n(n_),
        A{memory, m_},
        left{A[n_], m_},
        Y{left[n_], n_},
        norms(Y[n_]),
        betas(norms + n_ * kWidth),
        places(betas + n_ * kWidth),
        scratch(places + n_ * kWidth) {}

  SUBKERN_INLINE void exchange(Mask which, float* x, float* y, int64_t height) const {
    for (int64_t i = 0; i < height; ++i) {
      const Vec a = at(x, i), b = at(y, i);
      put(x, i, pick(which, b, a));
      put(y, i, pick(which, a, b));
    }
  }

  // The longest of the columns from k on comes to k.
  void pivot(int64_t k) const {
    for (int64_t q = k + 1; q < n; ++q) {
      const Mask longer = less(at(norms, k), at(norms, q));
      if (!any(longer)) continue;
      exchange(longer, A[k], A[q], m);
      exchange(longer, norms + k * kWidth, norms + q * kWidth, 1);
      exchange(longer, places + k * kWidth, places + q * kWidth, 1);
    }
  }

  // x -= beta (v . x) v from entry k on, for kColumns columns; squares: their sums of squares
  // behind entry k.
  template <int kColumns>
  SUBKERN_INLINE void reflect(const float* v, Vec beta, float* const* x, int64_t k,
                              Vec* squares) const {
    Vec w[kColumns];
    lanes_dots<kColumns>(v, x, k, m, w);
    const Vec head = at(v, k);
    for (int c = 0; c < kColumns; ++c) {
      w[c] = mul(beta, w[c]);
      put(x[c], k, fnma(w[c], head, at(x[c], k)));
      squares[c] = zero();
    }
    for (int64_t i = k + 1; i < m; ++i) {
      const Vec entry = held(at(v, i));
      for (int c = 0; c < kColumns; ++c) {
        const Vec a = fnma(w[c], entry, at(x[c], i));
        put(x[c], i, a);
        squares[c] = fma(a, a, squares[c]);
      }
    }
  }

  // Householder's Q R with pivoting; P R^T goes to Y.
  void factor() const {
    measure(A, m);
    for (int64_t j = 0; j < n; ++j) put(places, j, splat(static_cast<float>(j)));
    for (int64_t k = 0; k < n; ++k) {
      pivot(k);
      float* const v = A[k];
      const float* const below = v + (k + 1) * kWidth;
      const Vec head = at(v, k), tail = lanes_dot(below, below, m - k - 1);
      // What is triangular already stays as it is.
      const Mask full = less(splat(1e-30f), tail);
      const Vec norm = root(fma(head, head, tail));
      const Vec alpha = pick(full, pick(less(head, zero()), norm, sub(zero(), norm)), head);
      const Vec first = sub(head, alpha);
      const Vec beta = pick(full, div(splat(2.0f), fma(first, first, tail)), zero());
      put(v, k, first);
      put(betas, k, beta);
      by_fours(k + 1, n, [&](int64_t j, auto columns) {
        constexpr int kColumns = decltype(columns)::value;
        float* x[kColumns];
        Vec squares[kColumns];
        for (int c = 0; c < kColumns; ++c) x[c] = A[j + c];
        reflect<kColumns>(v, beta, x, k, squares);
        for (int c = 0; c < kColumns; ++c) put(norms, j + c, squares[c]);
      });
      put(Y[k], 0, alpha);
    }
    // Row j of R^T goes to where column j came from: the rows of U need no more than that.
    for (int64_t k = 0; k < n; ++k) {
      const Vec diagonal = at(Y[k], 0);
      for (int64_t i = 0; i < n; ++i) put(Y[k], i, zero());
      put_at(Y[k], at(places, k), diagonal);
      for (int64_t j = k + 1; j < n; ++j) put_at(Y[k], at(places, j), at(A[j], k));
    }
  }

  // Squared norms of columns of so many entries; returns the largest.
  Vec measure(const Columns& X, int64_t height) const {
    Vec largest = zero();
    for (int64_t j = 0; j < n; ++j) {
      const Vec a = lanes_dot(X[j], X[j], height);
      put(norms, j, a);
      largest = larger(largest, a);
    }
    return largest;
  }

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

  void iterate(Lanes& lanes) const {
    Sweep sweep;
    sweep.active = less(zero(), load(lanes.good, All{}));
    // Below the null columns there is rounding: turning it on would never end. For the sake of
    // graded columns a little of what lies there is turned along until the others are done.
    Mask along = sweep.active;
    for (int count = 0; count < kSweeps && any(sweep.active); ++count) {
      sweep.null = mul(splat(4.0f * kEps * kEps), measure(Y, n));
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

  // Singular values, columns in their order, U with null columns completed.
  void finish(int64_t count, Lanes& lanes) const {
    measure(Y, n);
    int64_t order[kLanesLargest];
    for (int64_t l = 0; l < count; ++l) {
      if (!order_lane(norms, n, l, true, order)) continue;
      permute_lane(Y, n, n, l, order, scratch);
      permute_lane(left, n, n, l, order, scratch);
      permute_lane({norms, 1}, 1, n, l, order, scratch);
    }
    const Vec null = mul(splat(4.0f * kEps * kEps), at(norms, 0));
    float nulls[kWidth], least[kWidth];
    store(nulls, null, All{});
    store(least, at(norms, n - 1), All{});
    for (int64_t j = 0; j < n; ++j) {
      const Vec a = at(norms, j);
      const Vec inverse = pick(less(null, a), div(splat(1.0f), root(a)), zero());
      for (int64_t i = 0; i < n; ++i) put(Y[j], i, mul(at(Y[j], i), inverse));
    }
    for (int64_t l = 0; l < count; ++l) {
      if (lanes.good[l] != 0.0f && !(least[l] > nulls[l])) complete_lane(l, nulls[l], lanes);
    }
    const Vec first = load(lanes.first, All{}), second = load(lanes.second, All{});
    for (int64_t j = 0; j < n; ++j) put(norms, j, mul(mul(root(at(norms, j)), first), second));
  }

  void complete_lane(int64_t l, float null, Lanes& lanes) const {
    lanes.info[l] |= kDeficient;
    float* const copy = scratch;
    bool nulls[kLanesLargest];
    for (int64_t j = 0; j < n; ++j) {
      nulls[j] = !(norms[j * kWidth + l] > null);
      for (int64_t i = 0; i < n; ++i) copy[j * n + i] = Y[j][i * kWidth + l];
    }
    complete_columns(copy, n, n, n, nulls, copy + n * n);
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = 0; i < n; ++i) Y[j][i * kWidth + l] = copy[j * n + i];
    }
  }

  // V becomes Q V.
  void expand() const {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = n; i < m; ++i) put(left[j], i, zero());
    }
    for (int64_t k = n - 1; k >= 0; --k) {
      const Vec beta = at(betas, k);
      by_fours(0, n, [&](int64_t j, auto columns) {
        constexpr int kColumns = decltype(columns)::value;
        float* x[kColumns];
        Vec squares[kColumns];
        for (int c = 0; c < kColumns; ++c) x[c] = left[j + c];
        reflect<kColumns>(A[k], beta, x, k, squares);
      });
    }
  }

  // Left vectors (the columns of Y where the matrix was transposed) get their sign.
  void sign(bool transposed) const {
    for (int64_t j = 0; j < n; ++j) {
      const Mask wrong = transposed ? wrong_sign(Y[j], n) : wrong_sign(left[j], m);
      if (!any(wrong)) continue;
      negate_where(wrong, left[j], m);
      negate_where(wrong, Y[j], n);
    }
  }

  void run(int64_t count, Lanes& lanes) const {
    scale_lanes(A, m, n, count, lanes);
    factor();
    set_identity(left, n);
    iterate(lanes);
    finish(count, lanes);
    polish(Y, n, n, scratch);
    polish(left, n, n, scratch);
    expand();
  }

  // U by rows, S, V^T by rows, for each matrix; all NaN for a bad one. Swapped: the transposed
  // matrix has these factors, V by rows and U^T.
  void write(int64_t count, const Lanes& lanes, float* U, float* S, float* Vt, bool swapped) const {
    const Mask good = less(zero(), load(lanes.good, All{}));
    const Vec nan = splat(__builtin_nanf(""));
    const Columns &by_rows = swapped ? Y : left, &by_columns = swapped ? left : Y;
    write_flat(S, count, n, [&](int64_t j) { return pick(good, at(norms, j), nan); });
    Walk rows{n};
    write_flat(U, count, by_rows.height * n, [&](int64_t) {
      const Vec x = at(by_rows[rows.minor], rows.major);
      rows.step();
      return pick(good, x, nan);
    });
    Walk columns{by_columns.height};
    write_flat(Vt, count, by_columns.height * n, [&](int64_t) {
      const Vec x = at(by_columns[columns.major], columns.minor);
      columns.step();
      return pick(good, x, nan);
    });
  }
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
