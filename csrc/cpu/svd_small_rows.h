// One-sided Jacobi on one matrix of more than 32 columns.
#pragma once

#include "jacobi_rows.h"
#include "subkern/svd_small.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

// As SvdLanes: A P = Q R, R^T V = U' S, A = (Q V) S (P U')^T.
struct SvdRows {
  int64_t m, n, ldm, ldn;
  float *A, *left, *Y, *copy, *factor, *leverage;
  float norms[kSvdLargest], betas[kSvdLargest];
  int64_t order[kSvdLargest], places[kSvdLargest];

  static int64_t floats(int64_t m, int64_t n) {
    const int64_t ldm = whole_vectors(m), ldn = whole_vectors(n);
    return 2 * n * ldm + (2 * n + 1) * ldn + n * n;
  }

  SvdRows(int64_t m_, int64_t n_, float* memory)
      : m(m_), n(n_), ldm(whole_vectors(m_)), ldn(whole_vectors(n_)) {
    A = memory;
    left = A + n * ldm;
    Y = left + n * ldm;
    copy = Y + n * ldn;
    leverage = copy + n * ldn;
    factor = leverage + ldn;
  }

  template <class T>
  void read(const T* data, int64_t row_stride, int64_t col_stride) const {
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        A[j * ldm + i] = element(data + i * row_stride + j * col_stride);
      }
    }
  }

  void exchange(int64_t k, int64_t q) {
    for (int64_t i = 0; i < m; ++i) {
      const float x = A[k * ldm + i];
      A[k * ldm + i] = A[q * ldm + i];
      A[q * ldm + i] = x;
    }
    const float norm = norms[k];
    const int64_t place = places[k];
    norms[k] = norms[q];
    places[k] = places[q];
    norms[q] = norm;
    places[q] = place;
  }

  // x -= beta (v . x) v from entry k on.
  void reflect(int64_t k, float* x) const {
    const float* const v = A + k * ldm + k;
    add_multiple(x + k, v, -betas[k] * dot(v, x + k, m - k), m - k);
  }

  void factorize() {
    for (int64_t j = 0; j < n; ++j) {
      norms[j] = dot(A + j * ldm, A + j * ldm, m);
      places[j] = j;
    }
    for (int64_t k = 0; k < n; ++k) {
      int64_t longest = k;
      for (int64_t q = k + 1; q < n; ++q) {
        if (norms[q] > norms[longest]) longest = q;
      }
      if (longest != k) exchange(k, longest);
      float* const v = A + k * ldm;
      const float head = v[k], tail = dot(v + k + 1, v + k + 1, m - k - 1);
      const bool full = tail > 1e-30f;  // what is triangular already stays as it is
      const float norm = __builtin_sqrtf(head * head + tail);
      const float alpha = full ? (head < 0.0f ? norm : -norm) : head;
      v[k] = head - alpha;
      betas[k] = full ? 2.0f / (v[k] * v[k] + tail) : 0.0f;
      Y[k * ldn + k] = alpha;
      for (int64_t j = k + 1; j < n; ++j) {
        float* const x = A + j * ldm;
        reflect(k, x);
        norms[j] = dot(x + k + 1, x + k + 1, m - k - 1);
      }
    }
    for (int64_t k = 0; k < n; ++k) {
      for (int64_t i = 0; i < k; ++i) Y[k * ldn + i] = 0.0f;
      for (int64_t j = k + 1; j < n; ++j) Y[k * ldn + j] = A[j * ldm + k];
    }
  }

  float sort() {
    for (int64_t j = 0; j < n; ++j) norms[j] = dot(Y + j * ldn, Y + j * ldn, n);
    order_keys(norms, n, true, order);
    return 4.0f * kEps * kEps * norms[order[0]];
  }

  // One sweep; whether it turned anything. See SvdLanes::iterate for `along`.
  bool sweep(bool& along) {
    const float null = sort(), floor = along ? null / 16 : null;
    bool turned = false, counted = false;
    for (int64_t number = 0; number < n; ++number) {
      Round round;
      for_round(n, number, [&](int64_t i, int64_t j) {
        const int64_t p = order[i], q = order[j];
        const float a = norms[p], b = norms[q], shorter = a < b ? a : b;
        if (!(shorter > floor)) return;
        const float g = dot(Y + p * ldn, Y + q * ldn, n);
        if (!(g * g > 4.0f * kEps * kEps * (a * b))) return;
        round.add(p, q, a, b, g);
        turned = true;
        counted |= shorter > null;
      });
      round.solve();
      round.turn(Y, ldn, n);
      round.turn(left, ldm, n);
      for (int64_t k = 0; k < round.count; ++k) {
        const float moved = round.tangent[k] * round.g[k];
        const float a = round.a[k] - moved, b = round.b[k] + moved;
        norms[round.p[k]] = a > 0.0f ? a : 0.0f;
        norms[round.q[k]] = b > 0.0f ? b : 0.0f;
      }
    }
    along &= counted;
    return turned;
  }

  // Returns what info says.
  int32_t run() {
    const float largest = largest_of(A, ldm, m, n);
    if (!(largest >= 0.0f)) return kNonFinite;
    const int lift = lift_of(largest);
    scale_columns(A, ldm, m, n, Scale(lift));
    factorize();
    set_identity(left, ldm, n);
    bool along = true;
    int sweeps = 0;
    while (sweeps < kSweeps && sweep(along)) ++sweeps;
    int32_t info = sweeps < kSweeps ? 0 : kUnconverged;
    const float null = sort();
    const Scale down(-lift);
    bool nulls[kSvdLargest];
    for (int64_t j = 0; j < n; ++j) {
      const float s = __builtin_sqrtf(norms[j]);
      nulls[j] = !(norms[j] > null);
      if (nulls[j]) info |= kDeficient;
      const Vec factors = splat(nulls[j] ? 0.0f : 1.0f / s);
      for_vectors(n, [&](int64_t i, auto lanes) {
        store(Y + j * ldn + i, mul(load(Y + j * ldn + i, lanes), factors), lanes);
      });
      norms[j] = s * down.first * down.second;
    }
    if ((info & kDeficient) != 0) complete_columns(Y, ldn, n, n, nulls, leverage);
    polish_columns(Y, ldn, n, n, factor, copy, ldn);
    polish_columns(left, ldm, n, n, factor, copy, ldn);
    expand();
    return info;
  }

  // V becomes Q V, U' becomes P U'.
  void expand() const {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = n; i < m; ++i) left[j * ldm + i] = 0.0f;
      for (int64_t k = n - 1; k >= 0; --k) reflect(k, left + j * ldm);
      float column[kSvdLargest];
      for (int64_t i = 0; i < n; ++i) column[i] = Y[j * ldn + i];
      for (int64_t i = 0; i < n; ++i) Y[j * ldn + places[i]] = column[i];
    }
  }

  void write(float* U, float* S, float* Vt, bool swapped) const {
    const float *const us = swapped ? Y : left, *const vs = swapped ? left : Y;
    const int64_t u_ld = swapped ? ldn : ldm, v_ld = swapped ? ldm : ldn;
    const int64_t rows = swapped ? n : m, cols = swapped ? m : n;
    for (int64_t j = 0; j < n; ++j) {
      const float *const u = us + order[j] * u_ld, *const v = vs + order[j] * v_ld;
      const float sign = sign_of(u, rows);
      S[j] = norms[order[j]];
      for (int64_t i = 0; i < rows; ++i) U[i * n + j] = sign * u[i];
      for (int64_t i = 0; i < cols; ++i) Vt[j * cols + i] = sign * v[i];
    }
  }
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
