// Adam for a list of parameters on a CUDA device: what the binding and the launchers share.
#pragma once

#include "subkern/adam.h"
#include "subkern/cuda/types.h"

namespace subkern {

// Tensors that share a pair of launches.
int cuda_adam_tensors_per_launch();

// Bytes of scratch that cuda_adam needs for tensors of these sizes.
int64_t cuda_adam_workspace(int64_t count, const int64_t* numel);

// As sk_adam (subkern/adam.h), in order on a stream. Returns a status for cuda_status_text.
// `launches` grows by the kernels of each kind: scan, apply.
int cuda_adam(const AdamList& list, const CudaAdamOptions& options, void* scratch,
              const CudaQueue& queue, int64_t launches[2]);

}  // namespace subkern
