// The step of subkern/sst_adamw.h on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"
#include "subkern/sst_adamw.h"

namespace subkern {

struct CudaSst {
  SstList list;
  const int64_t* table_rows;  // below 2^31, as rows and lengths; an index outside writes nothing
  int32_t* counters;          // of each entry, zero
};

struct CudaSstOptions {
  double lr;
  const float* lr_address;  // on the device: read in place of lr unless null
  double value_scale;
  double vector_scale;
  double beta1;
  double beta2;
  double eps;
  double weight_decay;
  int64_t warmup;
  bool skip_nonfinite;
};

// One launch for every few hundred entries, in order on a stream. Returns a status for
// cuda_status_text; `launches` grows by one for each.
int cuda_sst_adamw(const CudaSst& call, const CudaSstOptions& options, const CudaQueue& queue,
                   int64_t* launches);

}  // namespace subkern
