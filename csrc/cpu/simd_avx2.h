// AVX2 + FMA: 8 lanes, masked fp32 tails, bf16 tails through a small buffer. Included by simd.h.
#pragma once

#include <immintrin.h>

namespace subkern {
namespace SUBKERN_ISA {
namespace {

using Vec = __m256;
constexpr int kWidth = 8;
constexpr int kTileRows = 6;

inline __m256i mask_of(First lanes) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes.n), index);
}

inline Vec zero() { return _mm256_setzero_ps(); }
inline Vec splat(float x) { return _mm256_set1_ps(x); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec root(Vec a) { return _mm256_sqrt_ps(a); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline float sum(Vec a) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

inline Vec keep(Vec a, All) { return a; }
inline Vec keep(Vec a, First lanes) {
  return _mm256_and_ps(a, _mm256_castsi256_ps(mask_of(lanes)));
}

inline Vec load(const float* p, All) { return _mm256_loadu_ps(p); }
inline Vec load(const float* p, First lanes) { return _mm256_maskload_ps(p, mask_of(lanes)); }
inline void store(float* p, Vec a, All) { _mm256_storeu_ps(p, a); }
inline void store(float* p, Vec a, First lanes) { _mm256_maskstore_ps(p, mask_of(lanes), a); }

// Past the caches; p is aligned to a vector.
inline void stream(float* p, Vec a) { _mm256_stream_ps(p, a); }
inline void stream_fence() { _mm_sfence(); }

// Rows become columns.
inline void transpose(Vec (&v)[kWidth]) {
  Vec pairs[kWidth], fours[kWidth];
  for (int i = 0; i < kWidth; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
  }
  for (int i = 0; i < kWidth; i += 4) {
    for (int half = 0; half < 2; ++half) {
      fours[i + 2 * half] = _mm256_shuffle_ps(pairs[i + half], pairs[i + half + 2], 0x44);
      fours[i + 2 * half + 1] = _mm256_shuffle_ps(pairs[i + half], pairs[i + half + 2], 0xee);
    }
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x20);
    v[4 + i] = _mm256_permute2f128_ps(fours[i], fours[4 + i], 0x31);
  }
}

inline Vec widen(__m128i halves) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

// Round to nearest, ties to even; every NaN becomes the quiet 0x7fc0.
inline __m128i narrow(Vec a) {
  const __m256i bits = _mm256_castps_si256(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  const __m256i value = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), nan);
  return _mm_packus_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
}

inline Vec load(const bf16* p, All) {
  return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec load(const bf16* p, First lanes) {
  bf16 padded[kWidth] = {};
  for (int i = 0; i < lanes.n; ++i) padded[i] = p[i];
  return load(padded, All{});
}
inline void store(bf16* p, Vec a, All) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(a));
}
inline void store(bf16* p, Vec a, First lanes) {
  bf16 padded[kWidth];
  store(padded, a, All{});
  for (int i = 0; i < lanes.n; ++i) p[i] = padded[i];
}

// Collects whether any lane was inf or NaN: their exponent bits are the largest magnitudes.
class NonFinite {
 public:
  void see(Vec a) {
    const __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(kMax));
    largest_ = _mm256_max_epi32(largest_, magnitude);
  }
  bool found() const {
    const __m256i bad = _mm256_cmpgt_epi32(largest_, _mm256_set1_epi32(0x7f7fffff));
    return _mm256_movemask_epi8(bad) != 0;
  }

 private:
  static constexpr int kMax = 0x7fffffff;
  __m256i largest_ = _mm256_setzero_si256();
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
