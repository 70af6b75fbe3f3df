// What a matrix is scaled and judged by: largest magnitude, sum of squares, whether it is finite.
#pragma once

#include "subkern/types.h"

namespace subkern {

constexpr int64_t kScanBlock = 32768;  // elements summed together, in a fixed order
constexpr int kScanResults = 3;        // largest magnitude, sum of squares, 1 if not finite else 0

// Matrices of n elements without gaps; a matrix that is not finite has NaN in its first two
// results.
struct ScanBatch {
  const void* X;
  Dtype dtype;
  int64_t count, n, matrix_stride;
  double* results;  // count x kScanResults
  void* workspace;  // scan_workspace() bytes
};

int64_t scan_workspace(int64_t count, int64_t n);
void sk_scan(const ScanBatch& batch, int threads);

}  // namespace subkern
