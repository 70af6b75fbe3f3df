// What the Jacobi kernels share: rotations, power-of-two scales, completion of a basis.
#pragma once

#include <cmath>

#include "simd_mask.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int kSweeps = 16;
constexpr float kEps = 1.1920929e-7f;
// Entries are scaled to just below 2^20: then no product of two squared norms overflows, and none
// that counts vanishes.
constexpr int kTop = 20;
enum InfoBit : int32_t { kNonFinite = 1, kDeficient = 2, kUnconverged = 4 };

// A division of 16 floats takes as long as eight multiply-adds on them: Near goes by estimates.
#if SUBKERN_LEVEL == SUBKERN_LEVEL_avx512
inline Vec near_inverse(Vec x) { return _mm512_rcp14_ps(x); }
inline Vec near_root(Vec x) { return mul(x, _mm512_rsqrt14_ps(x)); }
// One step of Newton's from an estimate: good to the last bit but one.
inline Vec inverse(Vec x) {
  const Vec y = near_inverse(x);
  return fma(y, fnma(x, y, splat(1.0f)), y);
}
#else
inline Vec near_inverse(Vec x) { return div(splat(1.0f), x); }
inline Vec near_root(Vec x) { return root(x); }
inline Vec inverse(Vec x) { return div(splat(1.0f), x); }
#endif

// Tangent of half the angle, t / (1 + sqrt(1 + t^2)), from exact quotients and roots.
struct Exact {
  static SUBKERN_INLINE Vec quotient(Vec a, Vec b) { return div(a, b); }
  static SUBKERN_INLINE Vec root_of(Vec x) { return root(x); }
  static SUBKERN_INLINE Vec sine_of(Vec h) { return div(add(h, h), fma(h, h, splat(1.0f))); }
  static SUBKERN_INLINE Vec half_of(Vec t) {
    const Vec one = splat(1.0f);
    return div(t, add(one, root(fma(t, t, one))));
  }
};
// To 1e-4 of it. Columns that are turned again until they are orthogonal need no more, as long as
// sine and half belong to one angle.
struct Near {
  static SUBKERN_INLINE Vec quotient(Vec a, Vec b) { return mul(a, near_inverse(b)); }
  static SUBKERN_INLINE Vec root_of(Vec x) { return near_root(x); }
  static SUBKERN_INLINE Vec sine_of(Vec h) {
    return mul(add(h, h), inverse(fma(h, h, splat(1.0f))));
  }
  static SUBKERN_INLINE Vec half_of(Vec t) {
    const Vec x = mul(t, t);
    Vec series = fma(splat(0.0069268253f), x, splat(-0.0273214839f));
    series = fma(series, x, splat(0.0593323614f));
    series = fma(series, x, splat(-0.1247161973f));
    return mul(t, fma(series, x, splat(0.5f)));
  }
};

// The smaller rotation that diagonalises [[a, g], [g, b]]; none where `turn` does not hold.
// With sine and tangent of half the angle a rotation is an increment: a rounded cosine would
// lengthen or shorten every column it meets.
struct Rotation {
  Vec tangent, sine, half;

  Rotation() = default;
  static SUBKERN_INLINE Rotation none() {
    Rotation still;
    still.tangent = still.sine = still.half = zero();
    return still;
  }
  template <class Angle>
  SUBKERN_INLINE Rotation(Vec a, Vec b, Vec g, Mask turn, Angle) {
    const Vec d = mul(splat(0.5f), sub(b, a));
    const Vec reach = Angle::root_of(fma(d, d, mul(g, g)));
    const Vec way = pick(less(d, zero()), sub(d, reach), add(d, reach));
    tangent = pick(turn, Angle::quotient(g, way), zero());
    half = Angle::half_of(tangent);
    sine = Angle::sine_of(half);
  }

  SUBKERN_INLINE void apply(Vec& p, Vec& q) const {
    const Vec turned = fnma(sine, fma(half, p, q), p);
    q = fma(sine, fnma(half, q, p), q);
    p = turned;
  }
};

// 2^exponent, for exponents of normal numbers.
inline float power_of_two(int exponent) {
  const uint32_t bits = static_cast<uint32_t>(exponent + 127) << 23;
  float x;
  __builtin_memcpy(&x, &bits, sizeof(x));
  return x;
}

// 2^exponent as two factors: what lifts subnormal numbers is not representable in one.
struct Scale {
  float first, second;

  explicit Scale(int exponent)
      : first(power_of_two(exponent / 2)), second(power_of_two(exponent - exponent / 2)) {}
};

// The exponent e for which |x| 2^e is just below 2^kTop; 0 for 0.
inline int lift_of(float x) {
  int exponent = kTop;
  if (x != 0.0f) __builtin_frexpf(x, &exponent);
  return kTop - exponent;
}

// Calls body(i, j) for the pairs of a round, i + j = round modulo n: each index is in one of them
// at most, and n rounds make every pair once.
template <class Body>
SUBKERN_INLINE void for_round(int64_t n, int64_t round, const Body& body) {
  for (int64_t i = 0; i < n; ++i) {
    const int64_t j = round >= i ? round - i : round - i + n;
    if (i < j) body(i, j);
  }
}

inline float dot(const float* a, const float* b, int64_t m) {
  Vec sums = zero();
  for_vectors(
      m, [&](int64_t i, auto lanes) { sums = fma(load(a + i, lanes), load(b + i, lanes), sums); });
  return sum(sums);
}

// x += factor y
inline void add_multiple(float* x, const float* y, float factor, int64_t m) {
  const Vec factors = splat(factor);
  for_vectors(m, [&](int64_t i, auto lanes) {
    store(x + i, fma(factors, load(y + i, lanes), load(x + i, lanes)), lanes);
  });
}

// Columns U[j] of m entries, ld apart, orthonormal but for those marked as null: replaces these one
// by one by the unit vector of the row with the least leverage (lowest index among equals),
// projected three times and normalised. leverage: m floats.
inline void complete_columns(float* U, int64_t ld, int64_t m, int64_t n, bool* null,
                             float* leverage) {
  for (int64_t i = 0; i < m; ++i) leverage[i] = 0.0f;
  const auto count = [&](const float* u) {
    for_vectors(m, [&](int64_t i, auto lanes) {
      const Vec x = load(u + i, lanes);
      store(leverage + i, fma(x, x, load(leverage + i, lanes)), lanes);
    });
  };
  for (int64_t j = 0; j < n; ++j) {
    if (!null[j]) count(U + j * ld);
  }
  for (int64_t j = 0; j < n; ++j) {
    if (!null[j]) continue;
    int64_t least = 0;
    for (int64_t i = 1; i < m; ++i) {
      if (leverage[i] < leverage[least]) least = i;
    }
    float* const h = U + j * ld;
    for (int64_t i = 0; i < m; ++i) h[i] = i == least ? 1.0f : 0.0f;
    for (int pass = 0; pass < 3; ++pass) {
      for (int64_t p = 0; p < n; ++p) {
        if (!null[p]) add_multiple(h, U + p * ld, -dot(h, U + p * ld, m), m);
      }
    }
    const float norm = __builtin_sqrtf(dot(h, h, m));
    for (int64_t i = 0; i < m; ++i) h[i] /= norm;
    null[j] = false;
    count(h);
  }
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
