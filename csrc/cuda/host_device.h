// What kernels share with host code that knows no CUDA: integers, SK_BOTH, the size of a warp.
#pragma once

#if defined(__CUDACC_RTC__)
// NVRTC has no standard headers. In our namespace: whoever compiles may have its own.
namespace subkern {
using int32_t = int;
using int64_t = long long;
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using uint64_t = unsigned long long;
using uintptr_t = unsigned long long;
}  // namespace subkern
#else
#include <cstdint>
#endif

// For functions of host and device.
#if defined(__CUDACC__)
#define SK_BOTH __host__ __device__
#else
#define SK_BOTH
#endif

namespace subkern {

constexpr int kWarp = 32;

}  // namespace subkern
