// Vectors of doubles, half as many lanes as Vec has, beside simd.h.
#pragma once

#include "simd_mask.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int kDoubles = kWidth / 2;

#if SUBKERN_LEVEL == SUBKERN_LEVEL_avx512

using Dvec = __m512d;
inline Dvec dzero() { return _mm512_setzero_pd(); }
inline Dvec dsplat(double x) { return _mm512_set1_pd(x); }
inline Dvec dload(const double* p) { return _mm512_loadu_pd(p); }
inline Dvec dload(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
inline void dstore(double* p, Dvec a) { _mm512_storeu_pd(p, a); }
inline Dvec add(Dvec a, Dvec b) { return _mm512_add_pd(a, b); }
inline Dvec sub(Dvec a, Dvec b) { return _mm512_sub_pd(a, b); }
inline Dvec mul(Dvec a, Dvec b) { return _mm512_mul_pd(a, b); }
inline Dvec div(Dvec a, Dvec b) { return _mm512_div_pd(a, b); }
inline Dvec root(Dvec a) { return _mm512_sqrt_pd(a); }
inline Dvec fma(Dvec a, Dvec b, Dvec c) { return _mm512_fmadd_pd(a, b, c); }
inline Dvec larger(Dvec a, Dvec b) { return _mm512_max_pd(a, b); }
inline double sum(Dvec a) { return _mm512_reduce_add_pd(a); }
// x where a > b, else y.
inline Dvec where_greater(Dvec a, Dvec b, Dvec x, Dvec y) {
  return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_GT_OQ), y, x);
}
inline Dvec low_half(Vec a) { return _mm512_cvtps_pd(_mm512_castps512_ps256(a)); }
inline Dvec high_half(Vec a) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)); }
inline Dvec fnma(Dvec a, Dvec b, Dvec c) { return _mm512_fnmadd_pd(a, b, c); }

inline void store_narrow(float* p, Dvec a) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(a)); }

// Rows become columns.
SUBKERN_INLINE void transpose(Dvec (&v)[8]) {
  Dvec pairs[8], fours[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm512_unpacklo_pd(v[i], v[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_pd(v[i], v[i + 1]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {  // pairs of lanes (0, 4) and (2, 6) of four rows
    const int from = i / 4 * 4 + i % 2;
    fours[i] = i / 2 % 2 == 0 ? _mm512_shuffle_f64x2(pairs[from], pairs[from + 2], 0x88)
                              : _mm512_shuffle_f64x2(pairs[from], pairs[from + 2], 0xdd);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    v[i] = _mm512_shuffle_f64x2(fours[i], fours[4 + i], 0x88);
    v[4 + i] = _mm512_shuffle_f64x2(fours[i], fours[4 + i], 0xdd);
    v[2 + i] = _mm512_shuffle_f64x2(fours[2 + i], fours[6 + i], 0x88);
    v[6 + i] = _mm512_shuffle_f64x2(fours[2 + i], fours[6 + i], 0xdd);
  }
}

// Lane i: the sum of v[i]; a tree, half as many shuffles as one sum at a time.
SUBKERN_INLINE Dvec sums(const Dvec (&v)[8]) {
  Dvec two[4], four[2];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    two[i] =
        add(_mm512_unpacklo_pd(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_pd(v[2 * i], v[2 * i + 1]));
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    four[i] = add(_mm512_shuffle_f64x2(two[2 * i], two[2 * i + 1], 0x88),
                  _mm512_shuffle_f64x2(two[2 * i], two[2 * i + 1], 0xdd));
  }
  return add(_mm512_shuffle_f64x2(four[0], four[1], 0x88),
             _mm512_shuffle_f64x2(four[0], four[1], 0xdd));
}

#elif SUBKERN_LEVEL == SUBKERN_LEVEL_avx2

using Dvec = __m256d;
inline Dvec dzero() { return _mm256_setzero_pd(); }
inline Dvec dsplat(double x) { return _mm256_set1_pd(x); }
inline Dvec dload(const double* p) { return _mm256_loadu_pd(p); }
inline Dvec dload(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
inline void dstore(double* p, Dvec a) { _mm256_storeu_pd(p, a); }
inline Dvec add(Dvec a, Dvec b) { return _mm256_add_pd(a, b); }
inline Dvec sub(Dvec a, Dvec b) { return _mm256_sub_pd(a, b); }
inline Dvec mul(Dvec a, Dvec b) { return _mm256_mul_pd(a, b); }
inline Dvec div(Dvec a, Dvec b) { return _mm256_div_pd(a, b); }
inline Dvec root(Dvec a) { return _mm256_sqrt_pd(a); }
inline Dvec fma(Dvec a, Dvec b, Dvec c) { return _mm256_fmadd_pd(a, b, c); }
inline Dvec larger(Dvec a, Dvec b) { return _mm256_max_pd(a, b); }
inline double sum(Dvec a) {
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
inline Dvec where_greater(Dvec a, Dvec b, Dvec x, Dvec y) {
  return _mm256_blendv_pd(y, x, _mm256_cmp_pd(a, b, _CMP_GT_OQ));
}
inline Dvec low_half(Vec a) { return _mm256_cvtps_pd(_mm256_castps256_ps128(a)); }
inline Dvec high_half(Vec a) { return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)); }
inline Dvec fnma(Dvec a, Dvec b, Dvec c) { return _mm256_fnmadd_pd(a, b, c); }

inline void store_narrow(float* p, Dvec a) { _mm_storeu_ps(p, _mm256_cvtpd_ps(a)); }

#else

typedef double Dvec __attribute__((vector_size(16)));
inline Dvec dzero() { return Dvec{0.0, 0.0}; }
inline Dvec dsplat(double x) { return Dvec{x, x}; }
inline Dvec dload(const double* p) {
  Dvec a;
  __builtin_memcpy(&a, p, sizeof(a));
  return a;
}
inline Dvec dload(const float* p) { return Dvec{p[0], p[1]}; }
inline void dstore(double* p, Dvec a) { __builtin_memcpy(p, &a, sizeof(a)); }
inline Dvec add(Dvec a, Dvec b) { return a + b; }
inline Dvec sub(Dvec a, Dvec b) { return a - b; }
inline Dvec mul(Dvec a, Dvec b) { return a * b; }
inline Dvec div(Dvec a, Dvec b) { return a / b; }
inline Dvec root(Dvec a) { return Dvec{__builtin_sqrt(a[0]), __builtin_sqrt(a[1])}; }
inline Dvec fma(Dvec a, Dvec b, Dvec c) { return a * b + c; }
inline Dvec larger(Dvec a, Dvec b) {
  return Dvec{a[0] > b[0] ? a[0] : b[0], a[1] > b[1] ? a[1] : b[1]};
}
inline double sum(Dvec a) { return a[0] + a[1]; }
inline Dvec where_greater(Dvec a, Dvec b, Dvec x, Dvec y) {
  return Dvec{a[0] > b[0] ? x[0] : y[0], a[1] > b[1] ? x[1] : y[1]};
}
inline Dvec low_half(Vec a) { return Dvec{a[0], a[1]}; }
inline Dvec high_half(Vec a) { return Dvec{a[2], a[3]}; }
inline Dvec fnma(Dvec a, Dvec b, Dvec c) { return c - a * b; }

inline void store_narrow(float* p, Dvec a) {
  p[0] = static_cast<float>(a[0]);
  p[1] = static_cast<float>(a[1]);
}

#endif

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
