// From random bits and a weight to the key that is compared: csrc/cpu/sample_key.h says why and has
// the same operations, none of them contracted, so that the keys have the same bits.
#pragma once

#include "prims.cuh"

namespace subkern {

__device__ __forceinline__ float sample_noise(uint32_t word) {
  const float whole = static_cast<float>(static_cast<int32_t>(word >> 1));
  const float v = __fadd_rn(__fmul_rn(whole, 0x1p-31f), 0x1p-32f);
  return fminf(v, 1.0f - 0x1p-24f);
}

// -log(1 - v)
__device__ __forceinline__ float sample_race(float v) {
  const uint32_t u = __float_as_uint(__fadd_rn(1.0f, -v));
  const int32_t e = static_cast<int32_t>(u - 0x3f3504f3u) >> 23;
  const float m = __uint_as_float(u - (static_cast<uint32_t>(e) << 23));
  const float f = e < 0 ? __fadd_rn(m, -1.0f) : -v;
  float q = 0x1.654492p-4f;
  q = __fadd_rn(__fmul_rn(q, f), -0x1.263ba6p-3f);
  q = __fadd_rn(__fmul_rn(q, f), 0x1.3238f0p-3f);
  q = __fadd_rn(__fmul_rn(q, f), -0x1.5332a4p-3f);
  q = __fadd_rn(__fmul_rn(q, f), 0x1.98b748p-3f);
  q = __fadd_rn(__fmul_rn(q, f), -0x1.000570p-2f);
  q = __fadd_rn(__fmul_rn(q, f), 0x1.555792p-2f);
  q = __fadd_rn(__fmul_rn(q, f), -0x1.fffff8p-2f);
  q = __fadd_rn(__fmul_rn(q, f), 1.0f);
  return -__fadd_rn(__fmul_rn(f, q), __fmul_rn(static_cast<float>(e), 0x1.62e430p-1f));
}

// The key of a positive weight given as bits, moved so that unsigned integers order it; never 0.
__device__ __forceinline__ uint32_t sample_key(uint32_t weight, uint32_t word) {
  const uint32_t race = __float_as_uint(sample_race(sample_noise(word)));
  const bool subnormal = weight < 0x00800000u;
  const uint32_t w =
      subnormal ? __float_as_uint(static_cast<float>(static_cast<int32_t>(weight))) : weight;
  const float quotient = __fdiv_rn(__uint_as_float((w & 0x007fffffu) | 0x3f800000u),
                                   __uint_as_float((race & 0x007fffffu) | 0x3f800000u));
  uint32_t key = __float_as_uint(quotient) - 0x3f800000u;
  key += (w & 0xff800000u) - (race & 0xff800000u);
  if (subnormal) key -= 149u << 23;
  if (weight == 0x7f800000u) key += 64u << 23;
  return key ^ 0x80000000u;
}

}  // namespace subkern
