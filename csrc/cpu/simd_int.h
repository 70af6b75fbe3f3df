// Vectors of 32-bit integers, as many lanes as Vec has, beside simd.h.
#pragma once

#include "simd_mask.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

#if SUBKERN_LEVEL == SUBKERN_LEVEL_avx512

using Ivec = __m512i;
inline Ivec isplat(uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
inline Ivec iota() {
  return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
inline Ivec iload(const int32_t* p) { return _mm512_loadu_si512(p); }
inline void istore(int32_t* p, Ivec a) { _mm512_storeu_si512(p, a); }
inline Ivec iadd(Ivec a, Ivec b) { return _mm512_add_epi32(a, b); }
inline Ivec isub(Ivec a, Ivec b) { return _mm512_sub_epi32(a, b); }
inline Ivec iand(Ivec a, Ivec b) { return _mm512_and_si512(a, b); }
inline Ivec ior(Ivec a, Ivec b) { return _mm512_or_si512(a, b); }
inline Ivec ixor(Ivec a, Ivec b) { return _mm512_xor_si512(a, b); }
inline Ivec imin(Ivec a, Ivec b) { return _mm512_mask_min_epi32(a, 0xffff, a, b); }
inline Ivec imax(Ivec a, Ivec b) { return _mm512_mask_max_epi32(a, 0xffff, a, b); }
template <int kBits>
inline Ivec shift_left(Ivec a) {
  return _mm512_maskz_slli_epi32(0xffff, a, kBits);
}
template <int kBits>
inline Ivec shift_right(Ivec a) {
  return _mm512_maskz_srli_epi32(0xffff, a, kBits);
}
template <int kBits>
inline Ivec shift_right_signed(Ivec a) {
  return _mm512_maskz_srai_epi32(0xffff, a, kBits);
}
inline Vec to_float(Ivec a) { return _mm512_cvtepi32_ps(a); }
inline Ivec bits(Vec a) { return _mm512_castps_si512(a); }
inline Vec floats(Ivec a) { return _mm512_castsi512_ps(a); }
inline Mask igreater(Ivec a, Ivec b) { return _mm512_cmpgt_epi32_mask(a, b); }
inline Ivec ipick(Mask m, Ivec yes, Ivec no) { return _mm512_mask_blend_epi32(m, no, yes); }
inline uint32_t lanes_of(Mask m) { return m; }

// High and low halves of a * b, lane by lane, unsigned.
SUBKERN_INLINE void multiply(Ivec a, Ivec b, Ivec& high, Ivec& low) {
  const Ivec even = _mm512_maskz_mul_epu32(0xff, a, b);
  const Ivec odd = _mm512_maskz_mul_epu32(0xff, _mm512_maskz_srli_epi64(0xff, a, 32), b);
  high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_CDAB);
  low = _mm512_mask_shuffle_epi32(even, 0xaaaa, odd, _MM_PERM_CCAA);
}

// The lanes of m, one after the other; may write a whole vector.
SUBKERN_INLINE void compress(int32_t* p, Ivec a, Mask m) {
  _mm512_storeu_si512(p, _mm512_maskz_compress_epi32(m, a));
}

#elif SUBKERN_LEVEL == SUBKERN_LEVEL_avx2

using Ivec = __m256i;
inline Ivec isplat(uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
inline Ivec iota() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
inline Ivec iload(const int32_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline void istore(int32_t* p, Ivec a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a); }
inline Ivec iadd(Ivec a, Ivec b) { return _mm256_add_epi32(a, b); }
inline Ivec isub(Ivec a, Ivec b) { return _mm256_sub_epi32(a, b); }
inline Ivec iand(Ivec a, Ivec b) { return _mm256_and_si256(a, b); }
inline Ivec ior(Ivec a, Ivec b) { return _mm256_or_si256(a, b); }
inline Ivec ixor(Ivec a, Ivec b) { return _mm256_xor_si256(a, b); }
inline Ivec imin(Ivec a, Ivec b) { return _mm256_min_epi32(a, b); }
inline Ivec imax(Ivec a, Ivec b) { return _mm256_max_epi32(a, b); }
template <int kBits>
inline Ivec shift_left(Ivec a) {
  return _mm256_slli_epi32(a, kBits);
}
template <int kBits>
inline Ivec shift_right(Ivec a) {
  return _mm256_srli_epi32(a, kBits);
}
template <int kBits>
inline Ivec shift_right_signed(Ivec a) {
  return _mm256_srai_epi32(a, kBits);
}
inline Vec to_float(Ivec a) { return _mm256_cvtepi32_ps(a); }
inline Ivec bits(Vec a) { return _mm256_castps_si256(a); }
inline Vec floats(Ivec a) { return _mm256_castsi256_ps(a); }
inline Mask igreater(Ivec a, Ivec b) { return _mm256_castsi256_ps(_mm256_cmpgt_epi32(a, b)); }
inline Ivec ipick(Mask m, Ivec yes, Ivec no) {
  return _mm256_blendv_epi8(no, yes, _mm256_castps_si256(m));
}
inline uint32_t lanes_of(Mask m) { return static_cast<uint32_t>(_mm256_movemask_ps(m)); }

SUBKERN_INLINE void multiply(Ivec a, Ivec b, Ivec& high, Ivec& low) {
  const Ivec even = _mm256_mul_epu32(a, b);
  const Ivec odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), b);
  high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
  low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}

#else

typedef int32_t Ivec __attribute__((vector_size(16)));
inline Ivec isplat(uint32_t x) {
  const int32_t same = static_cast<int32_t>(x);
  return Ivec{same, same, same, same};
}
inline Ivec iota() { return Ivec{0, 1, 2, 3}; }
inline Ivec iload(const int32_t* p) {
  Ivec a;
  __builtin_memcpy(&a, p, sizeof(a));
  return a;
}
inline void istore(int32_t* p, Ivec a) { __builtin_memcpy(p, &a, sizeof(a)); }
inline Ivec iadd(Ivec a, Ivec b) { return bit_cast<Ivec>(bit_cast<Bits>(a) + bit_cast<Bits>(b)); }
inline Ivec isub(Ivec a, Ivec b) { return bit_cast<Ivec>(bit_cast<Bits>(a) - bit_cast<Bits>(b)); }
inline Ivec iand(Ivec a, Ivec b) { return a & b; }
inline Ivec ior(Ivec a, Ivec b) { return a | b; }
inline Ivec ixor(Ivec a, Ivec b) { return a ^ b; }
inline Ivec ipick(Mask m, Ivec yes, Ivec no) { return (yes & m) | (no & ~m); }
inline Ivec imin(Ivec a, Ivec b) { return ipick(a < b, a, b); }
inline Ivec imax(Ivec a, Ivec b) { return ipick(a > b, a, b); }
template <int kBits>
inline Ivec shift_left(Ivec a) {
  return bit_cast<Ivec>(bit_cast<Bits>(a) << kBits);
}
template <int kBits>
inline Ivec shift_right(Ivec a) {
  return bit_cast<Ivec>(bit_cast<Bits>(a) >> kBits);
}
template <int kBits>
inline Ivec shift_right_signed(Ivec a) {
  return a >> kBits;
}
inline Vec to_float(Ivec a) { return __builtin_convertvector(a, Vec); }
inline Ivec bits(Vec a) { return bit_cast<Ivec>(a); }
inline Vec floats(Ivec a) { return bit_cast<Vec>(a); }
inline Mask igreater(Ivec a, Ivec b) { return a > b; }
inline uint32_t lanes_of(Mask m) { return (m[0] & 1u) | (m[1] & 2u) | (m[2] & 4u) | (m[3] & 8u); }

SUBKERN_INLINE void multiply(Ivec a, Ivec b, Ivec& high, Ivec& low) {
  for (int i = 0; i < kWidth; ++i) {
    const uint64_t product = uint64_t{static_cast<uint32_t>(a[i])} * static_cast<uint32_t>(b[i]);
    high[i] = static_cast<int32_t>(product >> 32);
    low[i] = static_cast<int32_t>(product);
  }
}

#endif

#if SUBKERN_LEVEL != SUBKERN_LEVEL_avx512
inline void compress(int32_t* p, Ivec a, Mask m) {
  int32_t lanes[kWidth];
  istore(lanes, a);
  for (uint32_t left = lanes_of(m); left != 0; left &= left - 1) *p++ = lanes[__builtin_ctz(left)];
}
#endif

inline int popcount(Mask m) { return __builtin_popcount(lanes_of(m)); }

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
