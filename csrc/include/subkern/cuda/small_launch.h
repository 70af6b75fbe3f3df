// Which kernel serves a small matrix, and on how many threads: host code without CUDA, shared by
// the launchers and by what compiles the kernels at run time (bound in subkern._C too).
#pragma once

#include <cstdint>

namespace subkern {

enum SmallPath {
  kComposed = 0,  // no kernel of its own: orthonormalize, the factor's decomposition, a product
  kInWarp = 1,    // a lane per column, `columns` of them for each matrix
  kInBlock = 2,   // four warps per matrix
};

struct SmallLaunch {
  SmallPath path;
  int columns;  // 8, 16, 32 or 64: matrices are padded to as many rows and columns
  int64_t blocks;
  int threads;
};

constexpr int kSmallWarp = 32, kSmallBlock = 128, kMostSmall = 64;

// For matrices whose larger side is `side`.
inline SmallLaunch small_launch(int64_t batch, int64_t side) {
  if (side > kMostSmall) return {kComposed, 0, 0, 0};
  if (side > kSmallWarp) return {kInBlock, kMostSmall, batch, kSmallBlock};
  const int columns = side <= 8 ? 8 : side <= 16 ? 16 : 32, together = kSmallWarp / columns;
  return {kInWarp, columns, (batch + together - 1) / together, kSmallWarp};
}

}  // namespace subkern
