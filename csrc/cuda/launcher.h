// Launches the kernels of a plan on a device. A .cu file says which kernel a type stands for, by a
// static function `kernel_of` in namespace subkern.
#pragma once

#include <type_traits>

#include "launch_plan.h"
#include "prims.cuh"
#include "subkern/cuda/types.h"

namespace subkern {

class Launcher {
 public:
  // `launches` grows by one for each.
  Launcher(const CudaQueue& queue, int64_t* launches)
      : scope_(queue.device), stream_(queue.stream), launches_(launches) {}

  template <class Kernel, class... Arguments>
  int operator()(const LaunchShape& shape, Kernel kernel, Arguments... arguments) const {
    if (scope_.status() != 0) return scope_.status();
    const auto function = kernel_of(kernel);
    // Where the kernel is compiled at run time, its arguments are the bytes of these.
    static_assert(std::is_same_v<decltype(function), void (*const)(Arguments...)>);
    if (const int status = allow_shared(function, shape.shared)) return status;
    const dim3 grid(static_cast<unsigned>(shape.x), static_cast<unsigned>(shape.y));
    SK_LAUNCH(function, grid, static_cast<unsigned>(shape.threads),
              static_cast<size_t>(shape.shared), stream_, arguments...);
    const int status = launch_status();
    if (status == 0) ++*launches_;
    return status;
  }

 private:
  DeviceScope scope_;
  void* stream_;
  int64_t* launches_;
};

}  // namespace subkern
