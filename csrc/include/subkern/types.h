// Element types of the buffers that reach the kernels.
#pragma once

#include <cstdint>

namespace subkern {

// The codes are part of the Python binding.
enum Dtype : int { kFloat32 = 0, kBFloat16 = 1 };

// A strided matrix; data == nullptr means that the operand is absent.
struct Panel {
  void* data;
  Dtype dtype;
  int64_t row_stride;
  int64_t col_stride;
};

// Constants of the Adam core; step sizes are computed per parameter from its own step count.
struct AdamOptions {
  double lr;
  double beta1;
  double beta2;
  double eps;
  double decay;         // factor on W: 1 - lr * weight_decay
  double update_scale;  // decay if the decay acts after the update, else 1
  bool correct_bias;    // eta = lr * sqrt(1 - beta2^t) / (1 - beta1^t), else lr
  bool skip_nonfinite;  // leave a parameter alone if its gradient holds an inf or a NaN
  int threads;          // results do not depend on it
};

}  // namespace subkern
