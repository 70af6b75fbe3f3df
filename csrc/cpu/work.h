// The kernel table and the block sizes; used by the files compiled once, never per variant.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels.h"

namespace subkern {

#define SUBKERN_ENTRY(result, name, arguments) result(*name) arguments;

struct Kernels {
  SUBKERN_KERNELS(SUBKERN_ENTRY)
};

// The variant that serves this process; throws as active_isa() does.
const Kernels& active_kernels();

constexpr int64_t kBlock = 16384;        // elements of a contiguous block
constexpr int64_t kWave = 1 << 18;       // elements whose gradients stay in cache after a check
constexpr int64_t kSumRows = 32;         // rows of a tile of R that sums over rows
constexpr int64_t kTileCols = 4096;      // and its columns
constexpr int64_t kThreadWorth = 32768;  // elements that repay waking a thread

inline int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

// Rows of a contiguous block, at least one.
inline int64_t rows_per_block(int64_t cols) {
  return std::max<int64_t>(1, kBlock / std::max<int64_t>(1, cols));
}

// Threads that the work on so many elements repays.
inline int team_for(int64_t elements, int threads) {
  return static_cast<int>(std::min<int64_t>(threads, 1 + elements / kThreadWorth));
}

constexpr int64_t kStreamed = 1 << 20;  // floats that no cache keeps until somebody reads them

// Whether a result of so many floats is written past the caches, by whole lines.
inline bool streamed(const float* data, int64_t floats) {
  return floats >= kStreamed && reinterpret_cast<std::uintptr_t>(data) % 64 == 0;
}

inline const void* at(const void* data, Dtype dtype, int64_t index) {
  return static_cast<const char*>(data) + index * (dtype == kFloat32 ? 4 : 2);
}
inline void* at(void* data, Dtype dtype, int64_t index) {
  return static_cast<char*>(data) + index * (dtype == kFloat32 ? 4 : 2);
}

}  // namespace subkern
