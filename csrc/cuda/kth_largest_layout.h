// Arguments and memory of selection, for host code without CUDA too.
#pragma once

#include "host_device.h"

namespace subkern {

constexpr int kSelectThreads = 512, kSelectRun = 8;  // consecutive numbers of a thread
constexpr int64_t kSelectTile = kSelectThreads * kSelectRun;
constexpr int64_t kSelectLeast = 2 * kSelectTile;  // numbers of a block, at least
constexpr int64_t kSelectBlocks = 512;             // at most
constexpr int kSelectLevels = 3;                   // digits of a float32 key; bfloat16 has two
constexpr int kSelectBins = 2048;                  // of a digit of 11 bits
constexpr int kSelectCopies = 4;                   // of the bins in shared memory
constexpr int kSelectCounts = kSelectBins * kSelectCopies;

// Where the selection of one side stands; zero before it starts.
struct SelectState {
  uint32_t prefix;  // leading digits of the key looked for, in place
  int64_t rank;     // of it among the keys that begin so
};

// One side: the k-th largest of all numbers. Two: the k-th smallest score inside a mask, and the
// k-th largest outside.
struct SelectArguments {
  const void* x[2];     // scores of each side
  const uint8_t* mask;  // of two sides, not 0 inside
  int64_t n, k;
  bool magnitude;       // of one side: order |x|
  uint64_t* bins;       // of each level and side; zero
  SelectState* states;  // of each side
  int32_t* counters;    // of each level; zero
  int32_t level, end;   // levels of this launch
  void* value;          // of one side, like the numbers
  int64_t *above, *equal;
};

// Numbers of a block, from how many there are alone, and how many blocks that makes.
SK_BOTH inline int64_t select_block_of(int64_t n) {
  const int64_t even = (n + kSelectBlocks - 1) / kSelectBlocks;
  const int64_t whole = (even + kSelectTile - 1) / kSelectTile * kSelectTile;
  return whole > kSelectLeast ? whole : kSelectLeast;
}
SK_BOTH inline int64_t select_blocks_of(int64_t n) {
  return n > 0 ? (n + select_block_of(n) - 1) / select_block_of(n) : 1;
}

// Bytes that a selection needs, all of them zero: bins, states, counters.
SK_BOTH inline int64_t select_bins_bytes(int sides) {
  return int64_t{kSelectLevels} * sides * kSelectBins * static_cast<int64_t>(sizeof(uint64_t));
}
SK_BOTH inline int64_t select_bytes(int sides) {
  return select_bins_bytes(sides) + 2 * static_cast<int64_t>(sizeof(SelectState)) +
         4 * static_cast<int64_t>(sizeof(int32_t));
}

}  // namespace subkern
