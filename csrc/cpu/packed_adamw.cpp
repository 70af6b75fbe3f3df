// Blocks of AdamW on listed entries. What lies scattered is brought into the first-level cache, a
// few hundred entries at a time, and from there the arithmetic is that of vectors: one code for all
// sets, as AVX2 has no scatter and bfloat16 no gather.
#include "kernels.h"
#include "simd_mask.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int64_t kGroup = 256;  // entries brought together

// 2^n for whole numbers n of moderate size.
inline Vec power_of_two(Vec n) {
#if SUBKERN_LEVEL == SUBKERN_LEVEL_avx512
  return _mm512_scalef_ps(splat(1.0f), n);
#elif SUBKERN_LEVEL == SUBKERN_LEVEL_avx2
  const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
#else
  Bits exponent{};
  for (int i = 0; i < kWidth; ++i)
    exponent[i] = static_cast<uint32_t>(static_cast<int>(n[i]) + 127);
  return bit_cast<Vec>(exponent << 23);
#endif
}

// 1 - exp(y) for y <= 0, to float32's accuracy however small y is.
SUBKERN_INLINE Vec one_minus_exp(Vec y) {
  constexpr float kLeast = -80.0f;  // exp vanishes beside 1 long before
  y = larger(y, splat(kLeast));
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23: rounds to a whole number
  const Vec n = sub(add(mul(y, splat(1.44269504f)), magic), magic);
  const Vec r = fnma(n, splat(-2.12194440e-4f), fnma(n, splat(0.693359375f), y));
  // exp(r) - 1 = r + r^2 (1/2 + r/6 + ...), |r| <= ln(2) / 2
  Vec p = splat(1.0f / 5040.0f);
  p = fma(p, r, splat(1.0f / 720.0f));
  p = fma(p, r, splat(1.0f / 120.0f));
  p = fma(p, r, splat(1.0f / 24.0f));
  p = fma(p, r, splat(1.0f / 6.0f));
  p = fma(p, r, splat(0.5f));
  const Vec small = fma(mul(r, r), p, r), scale = power_of_two(n);
  return sub(sub(splat(1.0f), scale), mul(scale, small));
}

struct Core {
  Vec beta1, one_minus_beta1, beta2, one_minus_beta2, eps, decay, rate, inverse_root;
  Vec log_beta1, log_beta2;

  explicit Core(const PackedBlock& b)
      : beta1(splat(b.beta1)),
        one_minus_beta1(splat(b.one_minus_beta1)),
        beta2(splat(b.beta2)),
        one_minus_beta2(splat(b.one_minus_beta2)),
        eps(splat(b.eps)),
        decay(splat(b.decay)),
        rate(splat(b.rate)),
        inverse_root(splat(b.inverse_root)),
        log_beta1(splat(b.log_beta1)),
        log_beta2(splat(b.log_beta2)) {}

  // The new w.
  SUBKERN_INLINE Vec operator()(Vec w, Vec g, Vec& m, Vec& v, Vec size, Vec inverse) const {
    m = fma(beta1, m, mul(one_minus_beta1, g));
    v = fma(beta2, v, mul(one_minus_beta2, mul(g, g)));
    return fnma(size, div(m, fma(root(v), inverse, eps)), mul(decay, w));
  }
};

template <bool kPacked, bool kOwnSteps, class T, class Index>
void packed_block(const PackedBlock& b, T* W, const T* G, const Index* at) {
  const Core core(b);
  T w[kGroup], g[kGroup];
  for (int64_t from = 0; from < b.n; from += kGroup) {
    const int64_t n = smaller(kGroup, b.n - from);
    const Index* const here = at + from;
    for (int64_t i = 0; i < n; ++i) w[i] = W[here[i]];
    if constexpr (!kPacked) {
      for (int64_t i = 0; i < n; ++i) g[i] = G[here[i]];
    }
    const T* const gradients = kPacked ? G + from : g;
    float* const M = b.M + from;
    float* const V = b.V + from;
    for_vectors(n, [&](int64_t i, auto lanes) {
      Vec m = load(M + i, lanes), v = load(V + i, lanes);
      Vec size = core.rate, inverse = core.inverse_root;
      if constexpr (kOwnSteps) {
        float* const step = b.step + from + i;
        const Vec t = add(load(step, lanes), splat(1.0f));
        store(step, t, lanes);
        size = div(core.rate, one_minus_exp(mul(t, core.log_beta1)));
        inverse = div(splat(1.0f), root(one_minus_exp(mul(t, core.log_beta2))));
      }
      const Vec updated = core(load(w + i, lanes), load(gradients + i, lanes), m, v, size, inverse);
      store(M + i, m, lanes);
      store(V + i, v, lanes);
      store(w + i, updated, lanes);
    });
    for (int64_t i = 0; i < n; ++i) W[here[i]] = w[i];
  }
}

template <class T, class Index>
void packed_block(const PackedBlock& b, T* W, const Index* at) {
  const T* const G = static_cast<const T*>(b.G);
  if (b.step == nullptr) {
    b.packed ? packed_block<true, false>(b, W, G, at) : packed_block<false, false>(b, W, G, at);
  } else {
    b.packed ? packed_block<true, true>(b, W, G, at) : packed_block<false, true>(b, W, G, at);
  }
}

template <class Body>
inline void with_index(const void* indices, bool wide, const Body& body) {
  if (wide) {
    body(static_cast<const int64_t*>(indices));
  } else {
    body(static_cast<const int32_t*>(indices));
  }
}

}  // namespace

void sk_packed_adamw_block(const PackedBlock& block) {
  with_type(block.W, block.dtype, [&](auto* W) {
    with_index(block.indices, block.wide, [&](auto* at) { packed_block(block, W, at); });
  });
}

bool sk_indices_ascend(const IndexBlock& block) {
  bool ascend = true;
  with_index(block.indices, block.wide, [&](auto* at) {
    uint32_t falls = 0;
    for (int64_t i = 1; i < block.n; ++i) falls |= at[i - 1] >= at[i];
    ascend = falls == 0;
  });
  return ascend;
}

void sk_indices_range(const IndexBlock& block, int64_t* lowest, int64_t* highest) {
  with_index(block.indices, block.wide, [&](auto* at) {
    auto low = at[0], high = at[0];
    for (int64_t i = 1; i < block.n; ++i) {
      low = at[i] < low ? at[i] : low;
      high = at[i] > high ? at[i] : high;
    }
    *lowest = low;
    *highest = high;
  });
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
