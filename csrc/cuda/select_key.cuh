// Keys: unsigned integers in the order of the numbers, by operations on bits alone.
#pragma once

#include "kth_largest_layout.h"
#include "prims.cuh"

namespace subkern {

constexpr uint32_t kSignBit = 0x80000000u, kInfinityBits = 0x7f800000u;

// Of a float32, or a bfloat16 in the upper half of a word: NaN is 0, zeros of both signs are one.
__device__ __forceinline__ uint32_t key_of(uint32_t bits) {
  const uint32_t magnitude = bits & ~kSignBit;
  if (magnitude > kInfinityBits) return 0;
  if (magnitude == 0) return kSignBit;
  return bits & kSignBit ? ~bits : bits | kSignBit;
}

// Who leaves first has the largest key inside a mask: the lowest scores, NaN as minus infinity.
__device__ __forceinline__ uint32_t key_inside(uint32_t bits) {
  return key_of((bits & ~kSignBit) > kInfinityBits ? kInfinityBits : bits ^ kSignBit);
}
// And who enters first outside.
__device__ __forceinline__ uint32_t key_outside(uint32_t bits) {
  return key_of((bits & ~kSignBit) > kInfinityBits ? kInfinityBits | kSignBit : bits);
}

// Keys are looked for digit by digit, from the top; what is below the last one is the same in all.
template <class T>
struct SelectDigits;
template <>
struct SelectDigits<float> {
  static constexpr int kLevels = 3, kLowest = 0;
  __device__ __forceinline__ static int shift(int level) {
    return level == 0 ? 21 : level == 1 ? 10 : 0;
  }
  __device__ __forceinline__ static uint32_t last(int level) { return level < 2 ? 2047u : 1023u; }
};
template <>
struct SelectDigits<bf16> {
  static constexpr int kLevels = 2, kLowest = 16;
  __device__ __forceinline__ static int shift(int level) { return level == 0 ? 21 : 16; }
  __device__ __forceinline__ static uint32_t last(int level) { return level == 0 ? 2047u : 31u; }
};

// The digits above those of a level.
template <class T>
__device__ __forceinline__ uint32_t select_mask(int level) {
  if (level == 0) return 0;
  return ~0u << SelectDigits<T>::shift(level - 1);
}

__device__ __forceinline__ void load_bits(const float* p, uint32_t (&x)[kSelectRun]) {
#pragma unroll
  for (int i = 0; i < kSelectRun; i += 4) {
    const uint4 words = *reinterpret_cast<const uint4*>(p + i);
    x[i] = words.x, x[i + 1] = words.y, x[i + 2] = words.z, x[i + 3] = words.w;
  }
}
__device__ __forceinline__ void load_bits(const bf16* p, uint32_t (&x)[kSelectRun]) {
  const uint4 words = *reinterpret_cast<const uint4*>(p);
  const uint32_t pairs[] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int i = 0; i < kSelectRun; ++i) {
    x[i] = i % 2 == 0 ? pairs[i / 2] << 16 : pairs[i / 2] & 0xffff0000u;
  }
}

// The first `count` of a run, by 16-byte accesses where it is whole.
template <class T>
__device__ __forceinline__ void load_bits(const T* p, int count, bool whole,
                                          uint32_t (&x)[kSelectRun]) {
  if (whole) {
    load_bits(p, x);
    return;
  }
#pragma unroll
  for (int e = 0; e < kSelectRun; ++e) x[e] = e < count ? __float_as_uint(widen(p[e])) : 0u;
}

// A thread's run of one tile of a block's numbers.
struct SelectPlace {
  int64_t from;
  int count;  // zero past the end

  __device__ __forceinline__ SelectPlace(int64_t tile, int64_t end)
      : from(tile + static_cast<int64_t>(threadIdx.x) * kSelectRun),
        count(end - from < kSelectRun ? static_cast<int>(end - from) : kSelectRun) {
    if (count < 0) count = 0;
  }
};

template <class T, bool kByMask>
__device__ __forceinline__ bool select_aligned(const SelectArguments& a) {
  uintptr_t places = reinterpret_cast<uintptr_t>(a.x[0]);
  // Mask bytes come eight at a time.
  if (kByMask)
    places |= reinterpret_cast<uintptr_t>(a.x[1]) | reinterpret_cast<uintptr_t>(a.mask) * 2;
  return places % 16 == 0;
}

// Which of a run are inside, as bits.
__device__ __forceinline__ uint32_t load_mask(const uint8_t* p, int count, bool whole) {
  uint32_t inside = 0;
  if (whole) {
    const uint2 words = *reinterpret_cast<const uint2*>(p);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      inside |= (words.x >> 8 * e & 0xffu) != 0 ? 1u << e : 0u;
      inside |= (words.y >> 8 * e & 0xffu) != 0 ? 16u << e : 0u;
    }
    return inside;
  }
#pragma unroll
  for (int e = 0; e < kSelectRun; ++e) {
    if (e < count && p[e] != 0) inside |= 1u << e;
  }
  return inside;
}

// The keys of a run; returns the bits of those whose side is the first.
template <class T, bool kByMask>
__device__ __forceinline__ uint32_t load_keys(const SelectArguments& a, const SelectPlace& at,
                                              bool aligned, uint32_t (&keys)[kSelectRun]) {
  const bool whole = aligned && at.count == kSelectRun;
  const T* const x = static_cast<const T*>(a.x[0]) + at.from;
  if (!kByMask) {
    load_bits(x, at.count, whole, keys);
    const uint32_t kept = a.magnitude ? ~kSignBit : ~0u;
#pragma unroll
    for (int e = 0; e < kSelectRun; ++e) keys[e] = key_of(keys[e] & kept);
    return 0xffu;
  }
  const uint32_t inside = load_mask(a.mask + at.from, at.count, whole);
  uint32_t other[kSelectRun];
  if (inside != 0) load_bits(x, at.count, whole, keys);
  if (inside != 0xffu) {
    load_bits(static_cast<const T*>(a.x[1]) + at.from, at.count, whole, other);
  }
#pragma unroll
  for (int e = 0; e < kSelectRun; ++e) {
    keys[e] = inside >> e & 1u ? key_inside(keys[e]) : key_outside(other[e]);
  }
  return inside;
}

}  // namespace subkern
