// Host side that the launchers share. Included by the .cu files only.
#pragma once

#include <cmath>

#include "adam_core.cuh"
#include "subkern/cuda/types.h"

namespace subkern {

inline AdamScalars scalars_of(const CudaAdamOptions& o) {
  return {o.lr_address,
          o.lr,
          o.weight_decay,
          std::log(o.beta1),
          std::log(o.beta2),
          static_cast<float>(o.beta1),
          static_cast<float>(1.0 - o.beta1),
          static_cast<float>(o.beta2),
          static_cast<float>(1.0 - o.beta2),
          static_cast<float>(o.eps),
          o.post_decay,
          o.correct_bias,
          o.skip_nonfinite};
}

}  // namespace subkern
