// What the launchers of subkern._CUDA share.
#pragma once

#include "subkern/types.h"

namespace subkern {

// Where the work goes. Launchers make the device current and restore the one before.
struct CudaQueue {
  int device;
  void* stream;  // a cudaStream_t
};

// Constants of the Adam core. The decay factor is 1 - lr weight_decay.
struct CudaAdamOptions {
  double lr;
  const float* lr_address;  // on the device: read in place of lr unless null
  double beta1;
  double beta2;
  double eps;
  double weight_decay;
  bool post_decay;    // the decay acts after the update
  bool correct_bias;  // eta = lr * sqrt(1 - beta2^t) / (1 - beta1^t), else lr
  bool skip_nonfinite;
};

int cuda_device_count();                   // zero without a driver
const char* cuda_status_text(int status);  // status 0 is success
bool cuda_is_emulated();                   // the kernels run on the CPU: tests only

}  // namespace subkern
