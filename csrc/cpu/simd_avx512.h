// AVX-512 (F, BW, VL, DQ): 16 lanes, masked tails. Included by simd.h only.
#pragma once

// GCC's own masked-shift wrappers start from an undefined vector on purpose and warn about it.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

namespace subkern {
namespace SUBKERN_ISA {
namespace {

using Vec = __m512;
constexpr int kWidth = 16;
constexpr int kTileRows = 14;  // rows of a product held in registers, two vectors each

inline __mmask16 mask_of(First lanes) { return static_cast<__mmask16>((1u << lanes.n) - 1u); }

inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec splat(float x) { return _mm512_set1_ps(x); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec root(Vec a) { return _mm512_sqrt_ps(a); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline float sum(Vec a) { return _mm512_reduce_add_ps(a); }

inline Vec keep(Vec a, All) { return a; }
inline Vec keep(Vec a, First lanes) { return _mm512_maskz_mov_ps(mask_of(lanes), a); }

inline Vec load(const float* p, All) { return _mm512_loadu_ps(p); }
inline Vec load(const float* p, First lanes) { return _mm512_maskz_loadu_ps(mask_of(lanes), p); }
inline void store(float* p, Vec a, All) { _mm512_storeu_ps(p, a); }
inline void store(float* p, Vec a, First lanes) { _mm512_mask_storeu_ps(p, mask_of(lanes), a); }

// Past the caches; p is aligned to a vector.
inline void stream(float* p, Vec a) { _mm512_stream_ps(p, a); }
inline void stream_fence() { _mm_sfence(); }

// Rows become columns.
inline void transpose(Vec (&v)[kWidth]) {
  Vec pairs[kWidth], fours[kWidth];
  for (int i = 0; i < kWidth; i += 2) {
    pairs[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
  }
  for (int i = 0; i < kWidth; i += 4) {
    for (int half = 0; half < 2; ++half) {
      const __m512d a = _mm512_castps_pd(pairs[i + half]),
                    b = _mm512_castps_pd(pairs[i + half + 2]);
      fours[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      fours[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
  }
  for (int i = 0; i < 4; ++i) {  // quarter q of fours[4 g + i] is column 4 q + i of rows 4 g ...
    const Vec even = _mm512_shuffle_f32x4(fours[i], fours[4 + i], 0x88);
    const Vec odd = _mm512_shuffle_f32x4(fours[i], fours[4 + i], 0xdd);
    const Vec even_low = _mm512_shuffle_f32x4(fours[8 + i], fours[12 + i], 0x88);
    const Vec odd_low = _mm512_shuffle_f32x4(fours[8 + i], fours[12 + i], 0xdd);
    v[i] = _mm512_shuffle_f32x4(even, even_low, 0x88);
    v[4 + i] = _mm512_shuffle_f32x4(odd, odd_low, 0x88);
    v[8 + i] = _mm512_shuffle_f32x4(even, even_low, 0xdd);
    v[12 + i] = _mm512_shuffle_f32x4(odd, odd_low, 0xdd);
  }
}

inline Vec widen(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// Round to nearest, ties to even; every NaN becomes the quiet 0x7fc0.
inline __m256i narrow(Vec a) {
  const __m512i bits = _mm512_castps_si512(a);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc0)));
}

inline Vec load(const bf16* p, All) {
  return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Vec load(const bf16* p, First lanes) {
  return widen(_mm256_maskz_loadu_epi16(mask_of(lanes), p));
}
inline void store(bf16* p, Vec a, All) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(a));
}
inline void store(bf16* p, Vec a, First lanes) {
  _mm256_mask_storeu_epi16(p, mask_of(lanes), narrow(a));
}

// Collects whether any lane was inf or NaN: their exponent bits are the largest magnitudes.
class NonFinite {
 public:
  void see(Vec a) {
    const __m512i magnitude = _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(kMax));
    largest_ = _mm512_mask_max_epi32(largest_, 0xffff, largest_, magnitude);
  }
  bool found() const { return _mm512_reduce_max_epi32(largest_) >= 0x7f800000; }

 private:
  static constexpr int kMax = 0x7fffffff;
  __m512i largest_ = _mm512_setzero_si512();
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
