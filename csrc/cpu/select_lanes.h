// Lanes as bits, packing of chosen lanes, and the numbers that a selection orders.
#pragma once

#include "kth_largest_kernels.h"
#include "simd_mask.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

#if SUBKERN_LEVEL == SUBKERN_LEVEL_avx512

inline Mask at_most(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
inline uint32_t bits(Mask m) { return m; }
inline Mask present(All) { return 0xffff; }
inline Mask present(First lanes) { return mask_of(lanes); }
inline Mask opposite(Mask m) { return static_cast<Mask>(~m); }
inline Mask not_zero(const uint8_t* p, All) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm_test_epi8_mask(bytes, bytes);
}
inline Mask not_zero(const uint8_t* p, First lanes) {
  const __m128i bytes = _mm_maskz_loadu_epi8(mask_of(lanes), p);
  return _mm_test_epi8_mask(bytes, bytes);
}
// a without b.
inline Mask without(Mask a, Mask b) { return _kandn_mask16(b, a); }
// Chosen lanes to the front; the others hold anything. Returns their number.
inline int pack(float* to, Mask chosen, Vec v) {
  _mm512_storeu_ps(to, _mm512_maskz_compress_ps(chosen, v));
  return __builtin_popcount(chosen);
}

// How many lanes held, of fewer than 2^31 vectors.
class Tally {
 public:
  void count(Mask m) { lanes_ = _mm512_mask_sub_epi32(lanes_, m, lanes_, _mm512_set1_epi32(-1)); }
  int64_t total() const {
    const __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(lanes_));
    const __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(lanes_, 1));
    return _mm512_reduce_add_epi64(_mm512_add_epi64(low, high));
  }

 private:
  __m512i lanes_ = _mm512_setzero_si512();
};

#elif SUBKERN_LEVEL == SUBKERN_LEVEL_avx2

inline Mask at_most(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
inline uint32_t bits(Mask m) { return static_cast<uint32_t>(_mm256_movemask_ps(m)); }
inline Mask present(All) { return _mm256_castsi256_ps(_mm256_set1_epi32(-1)); }
inline Mask present(First lanes) { return _mm256_castsi256_ps(mask_of(lanes)); }
inline Mask opposite(Mask m) { return _mm256_xor_ps(m, present(All{})); }
inline Mask not_zero(const uint8_t* p, All) {
  const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_cmpgt_epi32(wide, _mm256_setzero_si256()));
}
inline Mask not_zero(const uint8_t* p, First lanes) {
  uint8_t padded[kWidth] = {};
  for (int i = 0; i < lanes.n; ++i) padded[i] = p[i];
  return not_zero(padded, All{});
}

// For each choice of lanes, the lanes in their order.
struct Orders {
  uint64_t of[256];
  constexpr Orders() : of() {
    for (int chosen = 0; chosen < 256; ++chosen) {
      uint64_t order = 0;
      int at = 0;
      for (int lane = 0; lane < 8; ++lane) {
        if (chosen >> lane & 1) order |= static_cast<uint64_t>(lane) << (8 * at++);
      }
      of[chosen] = order;
    }
  }
};
constexpr Orders kOrders{};

inline Mask without(Mask a, Mask b) { return _mm256_andnot_ps(b, a); }
inline int pack(float* to, Mask chosen, Vec v) {
  const uint32_t lanes = bits(chosen);
  const __m128i order = _mm_cvtsi64_si128(static_cast<long long>(kOrders.of[lanes]));
  _mm256_storeu_ps(to, _mm256_permutevar8x32_ps(v, _mm256_cvtepu8_epi32(order)));
  return __builtin_popcount(lanes);
}

class Tally {
 public:
  void count(Mask m) { lanes_ = _mm256_sub_epi32(lanes_, _mm256_castps_si256(m)); }
  int64_t total() const {
    alignas(32) int32_t lanes[kWidth];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), lanes_);
    int64_t sum = 0;
    for (const int32_t lane : lanes) sum += lane;
    return sum;
  }

 private:
  __m256i lanes_ = _mm256_setzero_si256();
};

#else

inline Mask at_most(Vec a, Vec b) { return a <= b; }
inline uint32_t bits(Mask m) { return (m[0] & 1u) | (m[1] & 2u) | (m[2] & 4u) | (m[3] & 8u); }
inline Mask present(All) { return Mask{-1, -1, -1, -1}; }
inline Mask present(First lanes) {
  Mask m{};
  for (int i = 0; i < lanes.n; ++i) m[i] = -1;
  return m;
}
inline Mask opposite(Mask m) { return ~m; }
inline Mask not_zero(const uint8_t* p, All) { return Mask{p[0], p[1], p[2], p[3]} != Mask{}; }
inline Mask not_zero(const uint8_t* p, First lanes) {
  Mask m{};
  for (int i = 0; i < lanes.n; ++i) m[i] = p[i];
  return m != Mask{};
}
inline Mask without(Mask a, Mask b) { return a & ~b; }
inline int pack(float* to, Mask chosen, Vec v) {
  int at = 0;
  for (int i = 0; i < kWidth; ++i) {
    to[at] = v[i];
    at += chosen[i] & 1;
  }
  return at;
}

class Tally {
 public:
  void count(Mask m) { lanes_ -= m; }
  int64_t total() const {
    return (static_cast<int64_t>(lanes_[0]) + lanes_[1]) +
           (static_cast<int64_t>(lanes_[2]) + lanes_[3]);
  }

 private:
  Mask lanes_{};
};

#endif

// A stream of reads waits for memory at each page; this asks for what comes a page later.
template <class T>
SUBKERN_INLINE void ask_ahead(const T* p) {
  constexpr int64_t kAhead = 4096;
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kAhead);
}

// The numbers at p in the selection's order; those left out, and absent lanes, are NaN.
template <int kOrdering, class T, class Lanes>
SUBKERN_INLINE Vec ordered(const T* p, const uint8_t* mask, Lanes lanes) {
  const Vec x = load(p, lanes), nan = splat(__builtin_nanf(""));
  if constexpr (kOrdering == kPlain) return pick(present(lanes), x, nan);
  if constexpr (kOrdering == kMagnitude) return pick(present(lanes), magnitude(x), nan);
  const Vec infinity = splat(__builtin_inff());
  if constexpr (kOrdering == kInside) {
    const Vec number = pick(at_most(x, x), sub(zero(), x), infinity);
    return pick(not_zero(mask, lanes), number, nan);
  }
  const Vec number = pick(at_most(x, x), x, sub(zero(), infinity));
  return pick(both(present(lanes), opposite(not_zero(mask, lanes))), number, nan);
}

template <int kOrdering>
struct OrderingOf {
  static constexpr int value = kOrdering;
};

// Calls body(ordering as a constant, typed pointer to element `from`).
template <class Body>
SUBKERN_INLINE void with_ordering(const Scores& s, int64_t from, const Body& body) {
  with_type(s.x, s.dtype, [&](auto* x) {
    switch (s.ordering) {
      case kPlain:
        return body(OrderingOf<kPlain>{}, x + from);
      case kMagnitude:
        return body(OrderingOf<kMagnitude>{}, x + from);
      case kInside:
        return body(OrderingOf<kInside>{}, x + from);
      case kOutside:
        return body(OrderingOf<kOutside>{}, x + from);
    }
  });
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
