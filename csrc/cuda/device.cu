// What the module says about devices and statuses.
#include "prims.cuh"
#include "subkern/cuda/types.h"

namespace subkern {

int cuda_device_count() { return device_count(); }
const char* cuda_status_text(int status) { return status_text(status); }
bool cuda_is_emulated() { return kEmulated; }

}  // namespace subkern
