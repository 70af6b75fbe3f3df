// The k-th largest of many numbers, and how many stand above and beside it.
#pragma once

#include "subkern/types.h"

namespace subkern {

// What is put in order. A NaN is below every number; zeros of both signs are equal.
enum Ordering : int {
  kPlain = 0,
  kMagnitude = 1,  // |x|
  kInside = 2,     // -x where mask is not 0, a NaN as the largest; the other entries are left out
  kOutside = 3,    // x where mask is 0, a NaN as -inf; the other entries are left out
};

struct Scores {
  const void* x;  // contiguous
  Dtype dtype;
  Ordering ordering;
  const uint8_t* mask;  // for kInside and kOutside
};

struct Kth {
  float value;
  int64_t above;   // larger than value
  int64_t equal;   // equal to it
  bool bracketed;  // the sample's bracket held, and no histogram of all numbers was needed
};

constexpr int64_t kSelectBlock = 16384;  // numbers judged together

struct BlockCounts {
  int64_t above;
  int64_t equal;
};

// Bytes of scratch for n numbers on so many threads.
int64_t kth_largest_workspace(int64_t n, int threads);

// The k-th largest of the `count` numbers among n that are not left out, 1 <= k <= count. blocks,
// or null: the counts of each block of kSelectBlock. Results do not depend on `threads`.
Kth sk_kth_largest(const Scores& scores, int64_t n, int64_t count, int64_t k, BlockCounts* blocks,
                   void* workspace, int threads);

}  // namespace subkern
