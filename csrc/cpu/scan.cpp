// Sum of squares and largest magnitude of a block, in one read of memory.
#include <cstdint>

#include "kernels.h"
#include "simd_double.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int64_t kStrip = 2048;  // elements that stay in the first-level cache

// Magnitudes order like their bits, and infinities and NaNs are the largest.
inline uint32_t magnitude(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  return bits & 0x7fffffffu;
}
inline uint32_t magnitude(bf16 x) { return static_cast<uint32_t>(x.bits & 0x7fffu) << 16; }

// For the compiler to vectorize: 64 lanes of maxima.
template <class T>
uint32_t largest_of(const T* x, int64_t n) {
  constexpr int kLanes = 64;
  uint32_t most[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const uint32_t size = magnitude(x[i + l]);
      most[l] = size > most[l] ? size : most[l];
    }
  }
  for (; i < n; ++i) most[0] = magnitude(x[i]) > most[0] ? magnitude(x[i]) : most[0];
  uint32_t largest = 0;
  for (int l = 0; l < kLanes; ++l) largest = most[l] > largest ? most[l] : largest;
  return largest;
}

struct Squares {
  Dvec low = dzero(), high = dzero();

  void add(Vec x) {
    const Dvec a = low_half(x), b = high_half(x);
    low = fma(a, a, low);
    high = fma(b, b, high);
  }
};

template <class T>
void scan_block(const T* x, int64_t n, double& total, uint32_t& largest) {
  Squares even, odd;
  largest = 0;
  for (int64_t from = 0; from < n; from += kStrip) {
    const T* const strip = x + from;
    const int64_t length = smaller(kStrip, n - from);
    const uint32_t most = largest_of(strip, length);
    largest = most > largest ? most : largest;
    int64_t i = 0;
    for (; i + 2 * kWidth <= length; i += 2 * kWidth) {
      even.add(load(strip + i, All{}));
      odd.add(load(strip + i + kWidth, All{}));
    }
    for_vectors(length - i, [&](int64_t r, auto lanes) { even.add(load(strip + i + r, lanes)); });
  }
  total = sum(add(even.low, even.high)) + sum(add(odd.low, odd.high));
}

}  // namespace

void sk_scan_block(const void* x, Dtype dtype, int64_t n, double* sum, uint32_t* largest) {
  with_type(x, dtype, [&](auto* typed) { scan_block(typed, n, *sum, *largest); });
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
