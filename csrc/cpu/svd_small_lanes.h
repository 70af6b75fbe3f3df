// One-sided Jacobi on matrices of at most 32 columns, one per lane: A P = Q R with the longest
// column first, then R^T, whose columns are nearly orthogonal already: R^T V = U' S makes A = (Q V)
// S (P U')^T.
#pragma once

#include "jacobi_lanes.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

struct SvdLanes {
  int64_t m, n;
  Columns A;                      // m entries: the matrix, then the reflectors of Q
  Columns left;                   // m entries: V, then Q V
  Columns Y;                      // n entries: R^T, then U', then P U'
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

  // x -= beta (v . x) v from entry k on; returns the sum of squares behind entry k.
  SUBKERN_INLINE Vec reflect(const float* v, Vec beta, float* x, int64_t k) const {
    const Vec w = mul(beta, lanes_dot(v + k * kWidth, x + k * kWidth, m - k));
    put(x, k, fnma(w, at(v, k), at(x, k)));
    Vec squares = zero(), others = zero();
    int64_t i = k + 1;
    for (; i + 2 <= m; i += 2) {
      const Vec a = fnma(w, at(v, i), at(x, i)), b = fnma(w, at(v, i + 1), at(x, i + 1));
      put(x, i, a);
      put(x, i + 1, b);
      squares = fma(a, a, squares);
      others = fma(b, b, others);
    }
    if (i < m) {
      const Vec a = fnma(w, at(v, i), at(x, i));
      put(x, i, a);
      squares = fma(a, a, squares);
    }
    return add(squares, others);
  }

  // Householder's Q R with pivoting; R^T goes to Y.
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
      for (int64_t j = k + 1; j < n; ++j) put(norms, j, reflect(v, beta, A[j], k));
      put(Y[k], k, alpha);
    }
    for (int64_t k = 0; k < n; ++k) {
      for (int64_t i = 0; i < k; ++i) put(Y[k], i, zero());
      for (int64_t j = k + 1; j < n; ++j) put(Y[k], j, at(A[j], k));
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

  // Turns kPairs disjoint pairs of columns of the active lanes, their waits overlapped.
  template <int kPairs>
  SUBKERN_INLINE void turn(const int64_t (*pairs)[2], Sweep& sweep) const {
    Vec a[kPairs], b[kPairs], g[kPairs];
    Mask turns[kPairs], swap[kPairs];
    for (int k = 0; k < kPairs; ++k) {
      a[k] = at(norms, pairs[k][0]);
      b[k] = at(norms, pairs[k][1]);
      g[k] = lanes_dot(Y[pairs[k][0]], Y[pairs[k][1]], n);
    }
    bool idle = true;
    for (int k = 0; k < kPairs; ++k) {
      const Vec limit = mul(splat(4.0f * kEps * kEps), mul(a[k], b[k]));
      const Vec shorter = smaller(a[k], b[k]);
      turns[k] = both(both(sweep.active, less(limit, mul(g[k], g[k]))), less(sweep.floor, shorter));
      swap[k] = both(sweep.active, less(a[k], b[k]));  // the longer column comes first
      const Mask acts = either(turns[k], swap[k]);
      idle &= !any(acts);
      // An exchange changes who meets whom: after it a sweep has not seen every pair.
      sweep.turned = either(sweep.turned, acts);
      sweep.counted = either(sweep.counted, both(turns[k], less(sweep.null, shorter)));
    }
    if (idle) return;
    Rotation rotation[kPairs];
    for (int k = 0; k < kPairs; ++k) {
      rotation[k] = Rotation(a[k], b[k], g[k], turns[k], Near{});
    }
    for (int k = 0; k < kPairs; ++k) {
      if (!any(either(turns[k], swap[k]))) continue;
      const int64_t p = pairs[k][0], q = pairs[k][1];
      const Vec moved = mul(rotation[k].tangent, g[k]);
      const Vec at_p = larger(sub(a[k], moved), zero()), at_q = larger(add(b[k], moved), zero());
      put(norms, p, pick(swap[k], at_q, at_p));
      put(norms, q, pick(swap[k], at_p, at_q));
      turn_columns(rotation[k], swap[k], Y[p], Y[q], n);
      turn_columns(rotation[k], swap[k], left[p], left[q], n);
    }
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
      for_blocked_pairs(n, [&](const int64_t (*pairs)[2], auto size) {
        turn<decltype(size)::value>(pairs, sweep);
      });
      sweep.active = both(sweep.active, sweep.turned);
      along = both(along, sweep.counted);
    }
    mark_unconverged(sweep.active, lanes);
  }

  // Singular values, columns in their order, U' with null columns completed.
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

  // V becomes Q V, U' becomes P U'.
  void expand(int64_t count) const {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = n; i < m; ++i) put(left[j], i, zero());
    }
    for (int64_t k = n - 1; k >= 0; --k) {
      const Vec beta = at(betas, k);
      for (int64_t j = 0; j < n; ++j) reflect(A[k], beta, left[j], k);
    }
    for (int64_t l = 0; l < count; ++l) {
      float column[kLanesLargest];
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t i = 0; i < n; ++i) column[i] = Y[j][i * kWidth + l];
        for (int64_t i = 0; i < n; ++i) {
          Y[j][static_cast<int64_t>(places[i * kWidth + l]) * kWidth + l] = column[i];
        }
      }
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
    expand(count);
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
