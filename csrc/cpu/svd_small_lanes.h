// One-sided Jacobi on matrices of at most 32 columns, one per lane: A P = Q R with the longest
// column first, then P R^T, whose columns are nearly orthogonal already: P R^T V = U S makes
// A = (Q V) S U^T.
#pragma once

#include "svd_small_sweeps.h"

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
    measure(A, n, m, norms);
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

  // Singular values, columns in their order, U with null columns completed.
  void finish(int64_t count, Lanes& lanes) const {
    measure(Y, n, n, norms);
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
    SvdSweeps{n, Y, left, norms}.run(lanes);
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
