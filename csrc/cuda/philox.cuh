// Philox 4x32-10 (Salmon et al., SC 2011): 128 random bits from a 64-bit key and a 128-bit counter,
// the same on every machine.
#pragma once

#include "prims.cuh"

namespace subkern {

// The counter's words become the four outputs.
__device__ __forceinline__ void philox(uint32_t (&c)[4], uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xd2511f53u) * c[0];
    const uint64_t p1 = static_cast<uint64_t>(0xcd9e8d57u) * c[2];
    c[0] = static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0;
    c[1] = static_cast<uint32_t>(p1);
    c[2] = static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1;
    c[3] = static_cast<uint32_t>(p0);
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
}

}  // namespace subkern
