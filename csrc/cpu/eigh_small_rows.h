// Jacobi's method on one symmetric matrix of more than 32 rows.
#pragma once

#include "jacobi_rows.h"
#include "subkern/eigh_small.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

struct EighRows {
  int64_t n, ld;
  float *C, *V, *copy, *factor;
  float values[kEighLargest];
  int64_t order[kEighLargest];

  static int64_t floats(int64_t n) {
    const int64_t ld = whole_vectors(n);
    return 3 * ld * ld + n * n;
  }

  // C and its transpose are made of whole squares of vectors.
  EighRows(int64_t n_, float* memory) : n(n_), ld(whole_vectors(n_)) {
    C = memory;
    V = C + ld * ld;
    copy = V + ld * ld;
    factor = copy + ld * ld;
    for (int64_t i = 0; i < ld * ld; ++i) C[i] = 0.0f;
  }

  template <class T>
  void read(const T* data, int64_t row_stride, int64_t col_stride) const {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        C[i * ld + j] = C[j * ld + i] = element(data + i * row_stride + j * col_stride);
      }
    }
  }

  void transpose_whole() const {
    const auto get = [&](int64_t i, int64_t j, Vec(&square)[kWidth]) {
      for (int64_t k = 0; k < kWidth; ++k) square[k] = load(C + (i + k) * ld + j, All{});
      transpose(square);
    };
    const auto put_square = [&](int64_t i, int64_t j, const Vec(&square)[kWidth]) {
      for (int64_t k = 0; k < kWidth; ++k) store(C + (i + k) * ld + j, square[k], All{});
    };
    for (int64_t i = 0; i < ld; i += kWidth) {
      for (int64_t j = 0; j <= i; j += kWidth) {
        Vec lower[kWidth], upper[kWidth];
        get(i, j, lower);
        get(j, i, upper);
        put_square(j, i, lower);
        put_square(i, j, upper);
      }
    }
  }

  bool sweep(float least) const {
    bool seen = false;
    for (int64_t number = 0; number < n; ++number) {
      Round round;
      for_round(n, number, [&](int64_t p, int64_t q) {
        const float g = C[p * ld + q];
        if (__builtin_fabsf(g) > least) round.add(p, q, C[p * ld + p], C[q * ld + q], g);
      });
      if (round.count == 0) continue;
      seen = true;
      round.solve();
      // C is symmetric: turning its columns, and those of what the transpose makes of it, is J^T C
      // J.
      round.turn(C, ld, n);
      transpose_whole();
      round.turn(C, ld, n);
      round.turn(V, ld, n);
      for (int64_t k = 0; k < round.count; ++k) {
        const int64_t p = round.p[k], q = round.q[k];
        const float moved = round.tangent[k] * round.g[k];
        C[p * ld + p] = round.a[k] - moved;
        C[q * ld + q] = round.b[k] + moved;
        C[p * ld + q] = C[q * ld + p] = 0.0f;
      }
    }
    return seen;
  }

  // Values and vectors, not yet in order; returns what info says.
  int32_t run() {
    const float largest = largest_of(C, ld, n, n);
    if (!(largest >= 0.0f)) return kNonFinite;
    const int lift = lift_of(largest);
    scale_columns(C, ld, n, n, Scale(lift));
    set_identity(V, ld, n);
    float squares = 0.0f;
    for (int64_t j = 0; j < n; ++j) squares += dot(C + j * ld, C + j * ld, n);
    const float least = __builtin_sqrtf(squares / static_cast<float>(n)) * (kEps / 4.0f);
    int sweeps = 0;
    while (sweeps < kSweeps && sweep(least)) ++sweeps;
    for (int64_t j = 0; j < n; ++j) values[j] = C[j * ld + j];
    order_keys(values, n, false, order);
    const Scale down(-lift);
    for (int64_t j = 0; j < n; ++j) values[j] = values[j] * down.first * down.second;
    polish_columns(V, ld, n, n, factor, copy, ld);
    return sweeps < kSweeps ? 0 : kUnconverged;
  }

  void write(float* w, float* vectors) const {
    for (int64_t j = 0; j < n; ++j) {
      const float* const v = V + order[j] * ld;
      const float sign = sign_of(v, n);
      w[j] = values[order[j]];
      for (int64_t i = 0; i < n; ++i) vectors[i * n + j] = sign * v[i];
    }
  }
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
