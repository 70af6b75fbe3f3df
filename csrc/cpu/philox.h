// Philox 4x32-10 (Salmon et al., SC 2011), a counter to a lane: 128 random bits are a function of
// a 64-bit key and a 128-bit counter, the same on every machine.
#pragma once

#include "simd_int.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

// The words of counters that share all but the last word. What the first rounds make of the shared
// words is no vector, and is worked out once: 16 of 20 products of vectors are left.
class Philox {
 public:
  Philox(uint64_t key, uint32_t word0, uint32_t word1, uint32_t word2) {
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < kRounds; ++round) {
      keys_[round][0] = k0;
      keys_[round][1] = k1;
      k0 += 0x9e3779b9u;
      k1 += 0xbb67ae85u;
    }
    const uint64_t p0 = uint64_t{kFirst} * word0, p1 = uint64_t{kSecond} * word2;
    const uint32_t c0 = high(p1) ^ word1 ^ keys_[0][0];
    const uint64_t q0 = uint64_t{kFirst} * c0;
    const uint64_t r1 = uint64_t{kSecond} * (high(q0) ^ low(p0) ^ keys_[1][1]);
    first_ = high(p0) ^ keys_[0][1];
    second_ = low(p1) ^ keys_[1][0];
    third_[0] = high(r1) ^ keys_[2][0];
    third_[1] = low(r1);
    third_[2] = low(q0) ^ keys_[2][1];
  }

  // The four outputs for the counters whose last words are the lanes of word3. Two vectors at a
  // time: one alone waits for its products.
  SUBKERN_INLINE void operator()(const Ivec (&word3)[2], Ivec (&out)[2][4]) const {
    const Ivec m0 = isplat(kFirst), m1 = isplat(kSecond);
    Ivec high0[2], low0[2], high1[2], low1[2];
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) multiply(ixor(word3[i], isplat(first_)), m1, high1[i], low1[i]);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      multiply(ixor(high1[i], isplat(second_)), m0, high0[i], low0[i]);
      out[i][0] = ixor(low1[i], isplat(third_[0]));
      out[i][1] = isplat(third_[1]);
      out[i][2] = ixor(high0[i], isplat(third_[2]));
      out[i][3] = low0[i];
    }
#pragma GCC unroll 10
    for (int round = 3; round < kRounds; ++round) {
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        multiply(out[i][0], m0, high0[i], low0[i]);
        multiply(out[i][2], m1, high1[i], low1[i]);
      }
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        out[i][0] = ixor(ixor(high1[i], out[i][1]), isplat(keys_[round][0]));
        out[i][1] = low1[i];
        out[i][2] = ixor(ixor(high0[i], out[i][3]), isplat(keys_[round][1]));
        out[i][3] = low0[i];
      }
    }
  }

 private:
  static constexpr int kRounds = 10;
  static constexpr uint32_t kFirst = 0xd2511f53u, kSecond = 0xcd9e8d57u;
  static uint32_t high(uint64_t x) { return static_cast<uint32_t>(x >> 32); }
  static uint32_t low(uint64_t x) { return static_cast<uint32_t>(x); }

  uint32_t keys_[kRounds][2];
  uint32_t first_, second_, third_[3];
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
