// Portable: 4 lanes in the compiler's own vector type, no intrinsics. Included by simd.h only.
#pragma once

#include <cstdint>

namespace subkern {
namespace SUBKERN_ISA {
namespace {

typedef float Vec __attribute__((vector_size(16)));
typedef uint32_t Bits __attribute__((vector_size(16)));
typedef uint16_t Halves __attribute__((vector_size(8)));
constexpr int kWidth = 4;
constexpr int kTileRows = 4;

inline Vec zero() { return Vec{0.0f, 0.0f, 0.0f, 0.0f}; }
inline Vec splat(float x) { return Vec{x, x, x, x}; }
inline Vec add(Vec a, Vec b) { return a + b; }
inline Vec mul(Vec a, Vec b) { return a * b; }
inline Vec div(Vec a, Vec b) { return a / b; }
inline Vec root(Vec a) {
  return Vec{__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]),
             __builtin_sqrtf(a[3])};
}
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
inline float sum(Vec a) { return (a[0] + a[2]) + (a[1] + a[3]); }

template <class To, class From>
inline To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast keeps the size");
  To to;
  __builtin_memcpy(&to, &from, sizeof(to));
  return to;
}

inline Vec keep(Vec a, All) { return a; }
inline Vec keep(Vec a, First lanes) {
  Vec kept = zero();
  for (int i = 0; i < lanes.n; ++i) kept[i] = a[i];
  return kept;
}

inline Vec load(const float* p, All) {
  Vec a;
  __builtin_memcpy(&a, p, sizeof(a));
  return a;
}
inline Vec load(const float* p, First lanes) {
  Vec a = zero();
  for (int i = 0; i < lanes.n; ++i) a[i] = p[i];
  return a;
}
inline void store(float* p, Vec a, All) { __builtin_memcpy(p, &a, sizeof(a)); }
inline void store(float* p, Vec a, First lanes) {
  for (int i = 0; i < lanes.n; ++i) p[i] = a[i];
}

inline void stream(float* p, Vec a) { store(p, a, All{}); }
inline void stream_fence() {}

// Rows become columns.
inline void transpose(Vec (&v)[kWidth]) {
  const Vec a = v[0], b = v[1], c = v[2], d = v[3];
  for (int i = 0; i < kWidth; ++i) v[i] = Vec{a[i], b[i], c[i], d[i]};
}

inline Vec widen(Halves halves) {
  return bit_cast<Vec>(__builtin_convertvector(halves, Bits) << 16);
}

// Round to nearest, ties to even; every NaN becomes the quiet 0x7fc0.
inline Halves narrow(Vec a) {
  const Bits bits = bit_cast<Bits>(a);
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Bits nan = bit_cast<Bits>(a != a);
  const Bits quiet = Bits{0x7fc0, 0x7fc0, 0x7fc0, 0x7fc0};
  return __builtin_convertvector((rounded & ~nan) | (quiet & nan), Halves);
}

inline Vec load(const bf16* p, All) {
  Halves halves;
  __builtin_memcpy(&halves, p, sizeof(halves));
  return widen(halves);
}
inline Vec load(const bf16* p, First lanes) {
  bf16 padded[kWidth] = {};
  for (int i = 0; i < lanes.n; ++i) padded[i] = p[i];
  return load(padded, All{});
}
inline void store(bf16* p, Vec a, All) {
  const Halves halves = narrow(a);
  __builtin_memcpy(p, &halves, sizeof(halves));
}
inline void store(bf16* p, Vec a, First lanes) {
  bf16 padded[kWidth];
  store(padded, a, All{});
  for (int i = 0; i < lanes.n; ++i) p[i] = padded[i];
}

// Collects whether any lane was inf or NaN: all their exponent bits are set.
class NonFinite {
 public:
  void see(Vec a) {
    const Bits exponent = Bits{kExponent, kExponent, kExponent, kExponent};
    seen_ |= bit_cast<Bits>((bit_cast<Bits>(a) & exponent) == exponent);
  }
  bool found() const { return (seen_[0] | seen_[1] | seen_[2] | seen_[3]) != 0; }

 private:
  static constexpr uint32_t kExponent = 0x7f800000u;
  Bits seen_ = Bits{0, 0, 0, 0};
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
