// The kernel that draws from one row of weights, on one thread.
#pragma once

#include "subkern/sample_without_replacement.h"

namespace subkern {

struct SampleRow {
  const void* weights;  // n without gaps
  Dtype dtype;
  int64_t n, k;
  uint64_t seed, offset;
  uint32_t row;
};

// What a thread keeps of a row: each array has sample_capacity() entries.
struct SampleScratch {
  int32_t* keys;   // weights of new candidates, as bits, then their keys
  float* noise;    // v of new candidates
  int32_t* where;  // their columns
};

constexpr int64_t kSampleGroup = 64;  // columns that share sixteen counters
constexpr int64_t kSampleStep = 2 * kSampleGroup;

// Candidates kept before they are thinned out, and room for what vectors write past the last.
inline int64_t sample_capacity(int64_t n, int64_t k) {
  const int64_t wanted = k + (k > 512 ? k : 512), most = wanted < n ? wanted : n;
  return (most + kSampleStep - 1) / kSampleStep * kSampleStep + 2 * kSampleStep;
}

// Returns the row's info and, unless that says kSampleInvalid, leaves the min(k, positive weights)
// best columns and their keys in `scratch`, columns ascending; `taken` says how many.
#define SUBKERN_SAMPLE_KERNELS(KERNEL) \
  KERNEL(int32_t, sk_sample_row,       \
         (const SampleRow& row, const SampleScratch& scratch, int64_t* taken))

}  // namespace subkern
