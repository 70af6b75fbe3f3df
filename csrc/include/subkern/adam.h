// Adam for a list of unprojected parameters.
#pragma once

#include "subkern/types.h"

namespace subkern {

// All arrays hold `count` entries; entry p is a contiguous buffer of numel[p] elements.
struct AdamList {
  int64_t count;
  void* const* W;            // weights, dtype; written
  const void* const* G;      // gradients, dtype
  float* const* exp_avg;     // M; written
  float* const* exp_avg_sq;  // V; written
  float* const* step;        // one float each; counts the updates
  float* const* skipped;     // one float each; counts the refused gradients
  const int64_t* numel;
  Dtype dtype;
};

// M = beta1 M + (1 - beta1) G;  V = beta2 V + (1 - beta2) G^2;  N = M / (sqrt(V) + eps);
// W = decay W - eta update_scale N, rounded once. flags[p] says whether parameter p was skipped.
void sk_adam(const AdamList& list, const AdamOptions& options, unsigned char* flags);

}  // namespace subkern
