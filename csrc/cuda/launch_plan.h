// A launch as host code without CUDA describes it. A plan hands launches to a functor, in order:
// launch(shape, kernel, arguments...), where `kernel` is a type that stands for a kernel and
// arguments have exactly the types of its parameters. The functor returns a status, zero for
// success. Launcher (launcher.h) sends them to the device; subkern._C notes them down for whoever
// compiles the kernels at run time.
#pragma once

#include <string>

#include "host_device.h"

namespace subkern {

struct LaunchShape {
  int64_t x, y;  // blocks
  int threads;
  int64_t shared;  // bytes of dynamic shared memory
};

struct bf16;  // defined in prims.cuh

template <class T>
constexpr const char* kElementName = "float";
template <>
inline constexpr const char* kElementName<bf16> = "subkern::bf16";

}  // namespace subkern
