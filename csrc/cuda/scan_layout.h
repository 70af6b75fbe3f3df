// Arguments and blocks of the scan, for host code without CUDA too.
#pragma once

#include "host_device.h"

namespace subkern {

constexpr int kScanThreads = 256, kScanBlocks = 1024;  // of a matrix, at most
constexpr int64_t kScanLeast = 16384;                  // elements of a block, at least

struct ScanArguments {
  const void* X;
  int64_t matrix_stride, n;
  double* results;    // three of each matrix
  double* sums;       // of each matrix and block
  uint32_t* largest;  // the same, bits of magnitudes
  int32_t* counters;  // of each matrix; zero
};

// Elements of a block, from the size of a matrix alone, and how many blocks that makes.
SK_BOTH inline int64_t scan_block_of(int64_t n) {
  const int64_t even = (n + kScanBlocks - 1) / kScanBlocks;
  const int64_t whole = (even + kScanLeast - 1) / kScanLeast * kScanLeast;
  return whole > kScanLeast ? whole : kScanLeast;
}
SK_BOTH inline int64_t scan_blocks_of(int64_t n) {
  return n > 0 ? (n + scan_block_of(n) - 1) / scan_block_of(n) : 1;
}

}  // namespace subkern
