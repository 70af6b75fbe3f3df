// AdamW of subkern/packed_adamw.h on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"
#include "subkern/packed_adamw.h"

namespace subkern {

struct CudaPacked {
  PackedList list;    // an entry whose index is outside its parameter is left alone
  int32_t* counters;  // of each parameter, zero
};

struct CudaPackedOptions {
  double lr;
  const float* lr_address;  // on the device: read in place of lr unless null
  double beta1;
  double beta2;
  double eps;
  double weight_decay;
};

// One launch for every few hundred parameters, in order on a stream. Returns a status for
// cuda_status_text; `launches` grows by one for each.
int cuda_packed_adamw(const CudaPacked& call, const CudaPackedOptions& options,
                      const CudaQueue& queue, int64_t* launches);

}  // namespace subkern
