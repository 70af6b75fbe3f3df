// Where the work of a call goes, and what came of it.
#include <stdexcept>
#include <string>

#include "cuda_bindings.h"

namespace subkern {

void check_status(const char* op, int status) {
  if (status != 0) {
    throw std::runtime_error(std::string(op) + ": CUDA error " + std::to_string(status) + ", " +
                             cuda_status_text(status));
  }
}

CudaQueue to_queue(const Check& check, int device, Address stream) {
  if (device < 0) check.fail("device", "be zero or more", std::to_string(device));
  return {device, as<void>(stream)};
}

}  // namespace subkern
