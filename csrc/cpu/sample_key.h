// From random bits and a weight to the key that is compared.
//
// log w - log(-log u) orders as w / E does, with E = -log u. The key is the bits of that quotient,
// which as a signed integer are ordered like it; its exponent has nine bits, since w / E leaves the
// range of float32. So one logarithm and one division do, subnormal weights keep their order
// whatever the flush-to-zero mode, and no step depends on whether there is a fused multiply-add:
// this file's operations are rounded one by one (-ffp-contract=off), and CUDA's are the same.
#pragma once

#include "simd_int.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr uint32_t kExponent = 0xff800000u, kOne = 0x3f800000u, kInfinity = 0x7f800000u;
constexpr uint32_t kRootHalf = 0x3f3504f3u;  // sqrt(1/2)
constexpr uint32_t kInfiniteLift = 64u << 23, kSubnormalDrop = 149u << 23;

// v = 1 - u in [2^-32, 1 - 2^-24], of 31 bits.
inline Vec noise_of(Ivec word) {
  const Vec v = add(mul(to_float(shift_right<1>(word)), splat(0x1p-31f)), splat(0x1p-32f));
  return smaller(v, splat(1.0f - 0x1p-24f));
}

// -log(1 - v), to 3e-7 of itself: log(2^e (1 + f)), 1 + f in [sqrt(1/2), sqrt(2)), where f is -v
// itself as long as e is zero. The polynomial is log(1 + f) / f, minimax in relative error.
SUBKERN_INLINE Vec race_of(Vec v) {
  const Vec u = sub(splat(1.0f), v);
  const Ivec e = shift_right_signed<23>(isub(bits(u), isplat(kRootHalf)));
  const Vec m = floats(isub(bits(u), shift_left<23>(e)));
  const Mask scaled = igreater(isplat(0), e);
  const Vec f = pick(scaled, sub(m, splat(1.0f)), sub(zero(), v));
  Vec q = splat(0x1.654492p-4f);
  q = add(mul(q, f), splat(-0x1.263ba6p-3f));
  q = add(mul(q, f), splat(0x1.3238f0p-3f));
  q = add(mul(q, f), splat(-0x1.5332a4p-3f));
  q = add(mul(q, f), splat(0x1.98b748p-3f));
  q = add(mul(q, f), splat(-0x1.000570p-2f));
  q = add(mul(q, f), splat(0x1.555792p-2f));
  q = add(mul(q, f), splat(-0x1.fffff8p-2f));
  q = add(mul(q, f), splat(1.0f));
  return sub(zero(), add(mul(f, q), mul(to_float(e), splat(0x1.62e430p-1f))));
}

// The key of positive weights given as bits.
SUBKERN_INLINE Ivec key_of(Ivec weight, Vec v) {
  const Ivec race = bits(race_of(v)), exponent = isplat(kExponent), one = isplat(kOne);
  const Mask subnormal = igreater(isplat(1u << 23), weight);
  const Ivec w = ipick(subnormal, bits(to_float(weight)), weight);
  const Ivec drop = ipick(subnormal, isplat(kSubnormalDrop), isplat(0));
  const Ivec fraction = isplat(~kExponent);
  const Vec quotient =
      div(floats(ior(iand(w, fraction), one)), floats(ior(iand(race, fraction), one)));
  const Ivec apart = isub(iand(w, exponent), iand(race, exponent));
  const Mask infinite = igreater(weight, isplat(kInfinity - 1));
  const Ivec lift = ipick(infinite, isplat(kInfiniteLift), isplat(0));
  return iadd(iadd(isub(bits(quotient), one), isub(apart, drop)), lift);
}

// A float below every w / v whose key is above `key`, where v stands for the longer -log(1 - v): a
// test without a logarithm that loses nobody. Zero lets every positive weight pass.
inline float least_quotient(int32_t key) {
  if (key >= 126 << 23) return 0x1p126f;
  if (key < -(126 << 23)) return 0.0f;
  const uint32_t raised = static_cast<uint32_t>(key) + kOne;
  float quotient;
  __builtin_memcpy(&quotient, &raised, sizeof(quotient));
  return quotient * (1.0f - 0x1p-18f);
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
