// One matrix of more than 32 columns, vectorised along its rows: each column contiguous.
#pragma once

#include "jacobi_core.h"
#include "subkern/types.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

inline int64_t whole_vectors(int64_t m) { return (m + kWidth - 1) / kWidth * kWidth; }

// A round of rotations: what is known of its pairs, and what is to be done to them.
struct Round {
  static constexpr int64_t kPairs = 32 + kWidth;
  int64_t count = 0;
  int64_t p[kPairs], q[kPairs];
  float a[kPairs], b[kPairs], g[kPairs], tangent[kPairs], sine[kPairs], half[kPairs];

  void add(int64_t i, int64_t j, float aa, float bb, float gg) {
    p[count] = i;
    q[count] = j;
    a[count] = aa;
    b[count] = bb;
    g[count++] = gg;
  }

  void solve() {
    for (int64_t k = 0; k < count; k += kWidth) {
      for (int64_t l = count; l < k + kWidth; ++l) a[l] = b[l] = g[l] = 0.0f;
      const Vec pq = load(g + k, All{});
      const Rotation r(load(a + k, All{}), load(b + k, All{}), pq, less(zero(), magnitude(pq)),
                       Exact{});
      store(tangent + k, r.tangent, All{});
      store(sine + k, r.sine, All{});
      store(half + k, r.half, All{});
    }
  }

  void turn(float* X, int64_t ld, int64_t m) const {
    for (int64_t k = 0; k < count; ++k) {
      Rotation r;
      r.sine = splat(sine[k]);
      r.half = splat(half[k]);
      float *const x = X + p[k] * ld, *const y = X + q[k] * ld;
      for_vectors(m, [&](int64_t i, auto lanes) {
        Vec u = load(x + i, lanes), v = load(y + i, lanes);
        r.apply(u, v);
        store(x + i, u, lanes);
        store(y + i, v, lanes);
      });
    }
  }
};

// Reads element (i, j) of a matrix in memory.
template <class T>
float element(const T* x) {
  float value[kWidth];
  store(value, load(x, First{1}), First{1});
  return value[0];
}

// Largest magnitude of n columns, ld apart; NaN where one is not finite.
inline float largest_of(const float* X, int64_t ld, int64_t m, int64_t n) {
  Vec largest = zero();
  NonFinite bad;
  for (int64_t j = 0; j < n; ++j) {
    for_vectors(m, [&](int64_t i, auto lanes) {
      const Vec x = load(X + j * ld + i, lanes);
      largest = larger(largest, magnitude(x));
      bad.see(x);
    });
  }
  if (bad.found()) return __builtin_nanf("");
  float values[kWidth], top = 0.0f;
  store(values, largest, All{});
  for (const float value : values) top = top < value ? value : top;
  return top;
}

inline void scale_columns(float* X, int64_t ld, int64_t m, int64_t n, const Scale& scale) {
  const Vec a = splat(scale.first), b = splat(scale.second);
  for (int64_t j = 0; j < n; ++j) {
    for_vectors(m, [&](int64_t i, auto lanes) {
      store(X + j * ld + i, mul(mul(load(X + j * ld + i, lanes), a), b), lanes);
    });
  }
}

inline void set_identity(float* V, int64_t ld, int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < n; ++i) V[j * ld + i] = i == j ? 1.0f : 0.0f;
  }
}

// X (1.5 I - 0.5 X^T X). factor: n n floats, copy: n columns, copy_ld apart.
inline void polish_columns(float* X, int64_t ld, int64_t m, int64_t n, float* factor, float* copy,
                           int64_t copy_ld) {
  for (int64_t p = 0; p < n; ++p) {
    for (int64_t q = 0; q <= p; ++q) {
      const float g = dot(X + p * ld, X + q * ld, m);
      factor[p * n + q] = factor[q * n + p] = (p == q ? 1.5f : 0.0f) - 0.5f * g;
    }
  }
  for (int64_t j = 0; j < n; ++j) {
    for_vectors(m, [&](int64_t i, auto lanes) {
      store(copy + j * copy_ld + i, load(X + j * ld + i, lanes), lanes);
    });
  }
  for (int64_t i = 0; i < m; i += kWidth) {
    const auto columns = [&](auto lanes) {
      for (int64_t q = 0; q < n; ++q) {
        Vec sums = zero();
        for (int64_t p = 0; p < n; ++p) {
          sums = fma(splat(factor[p * n + q]), load(copy + p * copy_ld + i, lanes), sums);
        }
        store(X + q * ld + i, sums, lanes);
      }
    };
    m - i >= kWidth ? columns(All{}) : columns(First{static_cast<int>(m - i)});
  }
}

// 1 or -1: what makes the entry of largest magnitude (lowest index) positive.
inline float sign_of(const float* column, int64_t m) {
  int64_t top = 0;
  for (int64_t i = 1; i < m; ++i) {
    if (__builtin_fabsf(column[i]) > __builtin_fabsf(column[top])) top = i;
  }
  return column[top] < 0.0f ? -1.0f : 1.0f;
}

// Stable order of n keys.
inline void order_keys(const float* keys, int64_t n, bool falling, int64_t* order) {
  for (int64_t j = 0; j < n; ++j) {
    int64_t place = j;
    for (; place > 0; --place) {
      const float before = keys[order[place - 1]];
      if (falling ? before >= keys[j] : before <= keys[j]) break;
      order[place] = order[place - 1];
    }
    order[place] = j;
  }
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
