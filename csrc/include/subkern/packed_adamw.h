// AdamW on listed entries of each parameter of a list.
#pragma once

#include "subkern/types.h"

namespace subkern {

// All arrays hold `count` entries. Parameter p has numel[p] elements, listed[p] of them listed;
// moments, steps (if per_entry[p]) and gradients (if packed[p]) have one element per index.
struct PackedList {
  int64_t count;
  void* const* W;              // contiguous, dtype; written
  const void* const* G;        // dtype, one per element or per index
  const void* const* indices;  // int64 or int32
  float* const* exp_avg;       // written
  float* const* exp_avg_sq;    // written
  float* const* step;          // one float, or one per index; written
  const int64_t* numel;
  const int64_t* listed;
  const unsigned char* packed;
  const unsigned char* per_entry;
  Dtype dtype;
  bool wide;  // indices are int64
};

// What is wrong with the indices of a parameter, the first of the list.
struct IndexFault {
  enum Kind { kNone, kRange, kRepeated } kind;
  int64_t parameter;
  int64_t index;
};

// Every index must be in range and listed once. bits: room for one bit per element of the largest
// parameter, written only where indices do not ascend.
IndexFault check_indices(const PackedList& list, void* bits, int threads);

// w = decay w - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps), rounded once. Indices
// have been checked. Of the options correct_bias, skip_nonfinite and update_scale are not read.
void sk_packed_adamw(const PackedList& list, const AdamOptions& options);

}  // namespace subkern
