// Comparisons and choices per lane, on top of simd.h.
#pragma once

#include "subkern/types.h"
// After the types: it uses them.
#include "simd.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

#if SUBKERN_LEVEL == SUBKERN_LEVEL_avx512
using Mask = __mmask16;
inline Mask less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline Mask both(Mask a, Mask b) { return static_cast<Mask>(a & b); }
inline Mask either(Mask a, Mask b) { return static_cast<Mask>(a | b); }
inline bool any(Mask m) { return m != 0; }
inline Vec pick(Mask m, Vec yes, Vec no) { return _mm512_mask_blend_ps(m, no, yes); }
inline Vec larger(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec smaller(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline Vec magnitude(Vec a) { return _mm512_abs_ps(a); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
// c - a b
inline Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }
#elif SUBKERN_LEVEL == SUBKERN_LEVEL_avx2
using Mask = __m256;
inline Mask less(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
inline Mask both(Mask a, Mask b) { return _mm256_and_ps(a, b); }
inline Mask either(Mask a, Mask b) { return _mm256_or_ps(a, b); }
inline bool any(Mask m) { return _mm256_movemask_ps(m) != 0; }
inline Vec pick(Mask m, Vec yes, Vec no) { return _mm256_blendv_ps(no, yes, m); }
inline Vec larger(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec smaller(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec magnitude(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
#else
typedef int32_t Mask __attribute__((vector_size(16)));
inline Mask less(Vec a, Vec b) { return a < b; }
inline Mask both(Mask a, Mask b) { return a & b; }
inline Mask either(Mask a, Mask b) { return a | b; }
inline bool any(Mask m) { return (m[0] | m[1] | m[2] | m[3]) != 0; }
inline Vec pick(Mask m, Vec yes, Vec no) {
  return bit_cast<Vec>((bit_cast<Mask>(yes) & m) | (bit_cast<Mask>(no) & ~m));
}
inline Vec larger(Vec a, Vec b) { return pick(a > b, a, b); }
inline Vec smaller(Vec a, Vec b) { return pick(a < b, a, b); }
inline Vec magnitude(Vec a) {
  constexpr int32_t kMagnitude = 0x7fffffff;
  return bit_cast<Vec>(bit_cast<Mask>(a) & Mask{kMagnitude, kMagnitude, kMagnitude, kMagnitude});
}
inline Vec sub(Vec a, Vec b) { return a - b; }
inline Vec fnma(Vec a, Vec b, Vec c) { return c - a * b; }
#endif

// The same vector, in a register from here on: its uses do not fetch it from memory each.
template <class V>
SUBKERN_INLINE V held(V a) {
#if SUBKERN_LEVEL == SUBKERN_LEVEL_avx512
  asm("" : "+v"(a));
#elif SUBKERN_LEVEL == SUBKERN_LEVEL_avx2
  asm("" : "+x"(a));
#endif
  return a;
}

inline Mask nowhere() { return less(zero(), zero()); }

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
