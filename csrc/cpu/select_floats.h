// Selection among numbers that fit a cache: by brackets from a sample while they are many, then by
// histograms of their keys. Used by kth_largest_threads.cpp only.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "work.h"

namespace subkern {

struct Bracket {
  float low, high;
};

constexpr float kInfinity = INFINITY;

// Order as the numbers do; zeros of both signs give one key. Not for NaN.
inline uint32_t key_of(float y) {
  const float x = y + 0.0f;
  uint32_t pattern;
  std::memcpy(&pattern, &x, sizeof(pattern));
  return pattern ^ (pattern >> 31 != 0 ? 0xffffffffu : 0x80000000u);
}
inline float number_of(uint32_t key) {
  const uint32_t pattern = key ^ (key >> 31 != 0 ? 0x80000000u : 0xffffffffu);
  float x;
  std::memcpy(&x, &pattern, sizeof(x));
  return x;
}

// The k-th largest of n numbers, none NaN. keys: room for n, x itself if need be.
inline Kth by_histograms(const float* x, uint32_t* keys, int64_t n, int64_t k) {
  uint32_t lowest = 0xffffffffu, highest = 0;
  for (int64_t i = 0; i < n; ++i) {
    float number;
    std::memcpy(&number, x + i, sizeof(number));
    const uint32_t key = key_of(number);
    std::memcpy(keys + i, &key, sizeof(key));
    lowest = std::min(lowest, key);
    highest = std::max(highest, key);
  }
  int64_t above = 0;
  for (;;) {
    int shift = 0;
    while ((highest - lowest) >> shift >= kSelectBins) ++shift;
    uint32_t bins[kSelectBins] = {};
    for (int64_t i = 0; i < n; ++i) ++bins[(keys[i] - lowest) >> shift];
    uint32_t bin = (highest - lowest) >> shift;
    while (above + bins[bin] < k) above += bins[bin--];
    if (shift == 0) return {number_of(lowest + bin), above, bins[bin], true};
    lowest += bin << shift;
    highest = lowest + ((1u << shift) - 1);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t key = keys[i];
      keys[kept] = key;
      kept += key >= lowest && key <= highest;
    }
    n = kept;
  }
}

// Where in [0, stride) of its stretch a sample's element lies: scattered, so that a period of the
// data does not meet one of the sample, and the same on every machine.
inline int64_t sample_place(int64_t i, int64_t stride) {
  const uint64_t mixed = (static_cast<uint64_t>(i + 1) * 0x9e3779b97f4a7c15u) >> 32;
  return i * stride + static_cast<int64_t>(mixed * static_cast<uint64_t>(stride) >> 32);
}

// Numbers between which the k-th of `count` lies, but for one time in some ten thousands, by a
// sample of `size` numbers from them. The sample's own k-th is off by a binomial deviation.
template <class Select>
Bracket bracket_by(int64_t size, int64_t count, int64_t k, const Select& select) {
  constexpr double kDeviations = 4.0;
  const double rank = static_cast<double>(k) / count * size;
  const double margin = kDeviations * std::sqrt(rank * (1.0 - rank / size)) + kDeviations;
  const int64_t upper = static_cast<int64_t>(std::floor(rank - margin));
  const int64_t lower = static_cast<int64_t>(std::ceil(rank + margin));
  return {lower > size ? -kInfinity : select(lower), upper < 1 ? kInfinity : select(upper)};
}

// The answer where k ends at or outside a bracket's bounds, or only its `above`: those over the
// numbers between.
enum class Place { kAbove, kHigh, kBetween, kLow, kBelow };

inline Place place_of(const BracketCounts& c, int64_t k) {
  if (k <= c.above) return Place::kAbove;
  if (k <= c.above + c.at_high) return Place::kHigh;
  if (k <= c.above + c.at_high + c.inner) return Place::kBetween;
  if (k <= c.above + c.at_high + c.inner + c.at_low) return Place::kLow;
  return Place::kBelow;
}

// The k-th largest of n numbers, none NaN; space has room for `room` >= n + kSelectPad more.
inline Kth select_floats(const Kernels& kernels, const float* x, int64_t n, int64_t k, float* space,
                         int64_t room) {
  constexpr int64_t kFew = 4096, kSample = 1024;
  if (n <= kFew) return by_histograms(x, reinterpret_cast<uint32_t*>(space), n, k);
  const int64_t stride = n / kSample;
  float sample[kSample];
  uint32_t keys[kSample];
  for (int64_t i = 0; i < kSample; ++i) sample[i] = x[sample_place(i, stride)];
  Bracket b = bracket_by(kSample, n, k, [&](int64_t rank) {
    return by_histograms(sample, keys, kSample, rank).value;
  });
  const Scores scores{x, kFloat32, kPlain, nullptr};
  for (;;) {
    BracketCounts c;
    kernels.sk_select_bracket(scores, 0, n, b.low, b.high, space, &c);
    if (b.low == b.high) c.at_low = 0;
    switch (place_of(c, k)) {
      case Place::kAbove:
        b = {b.high, kInfinity};
        break;
      case Place::kBelow:
        b = {-kInfinity, b.low};
        break;
      case Place::kHigh:
        return {b.high, c.above, c.at_high, true};
      case Place::kLow:
        return {b.low, c.above + c.at_high + c.inner, c.at_low, true};
      case Place::kBetween: {
        const int64_t over = c.above + c.at_high, used = c.inner + kSelectPad;
        Kth found =
            room - used < used
                ? by_histograms(space, reinterpret_cast<uint32_t*>(space), c.inner, k - over)
                : select_floats(kernels, space, c.inner, k - over, space + used, room - used);
        found.above += over;
        return found;
      }
    }
  }
}

}  // namespace subkern
