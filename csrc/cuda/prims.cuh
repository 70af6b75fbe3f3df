// What kernels share: element access, reductions in a fixed order, the last block, the launch.
// With host_device.h the one file that knows which compiler reads it: nvcc, NVRTC, or g++ with the
// emulator.
#pragma once

#if defined(SUBKERN_EMULATE)
#include "../emu/cuda_emu.h"
#elif !defined(__CUDACC_RTC__)
#include <cuda_runtime.h>
#endif

#include "host_device.h"

#if !defined(SUBKERN_EMULATE)
#define SK_SHARED(T, name, count) __shared__ T name[count]
// As large as the launch says; above 48 KB the launcher must ask by allow_shared.
#define SK_DYNAMIC_SHARED(T, name)                                   \
  extern __shared__ __align__(16) unsigned char sk_dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(sk_dynamic_shared)
#endif

namespace subkern {

// bfloat16 as storage: conversions are bit operations, so that no header is needed.
struct bf16 {
  uint16_t bits;
};

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}

// To nearest, ties to even; a NaN stays one.
__device__ __forceinline__ uint32_t bf16_bits(float x) {
  const uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0u;
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

__device__ __forceinline__ void narrow(float x, float& out) { out = x; }
__device__ __forceinline__ void narrow(float x, bf16& out) {
  out.bits = static_cast<uint16_t>(bf16_bits(x));
}

// kCount consecutive elements, aligned to their size in total or to 16 bytes.
template <int kCount>
__device__ __forceinline__ void load_pack(const float* p, float (&x)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(p + i);
    x[i] = four.x, x[i + 1] = four.y, x[i + 2] = four.z, x[i + 3] = four.w;
  }
}

template <int kCount>
__device__ __forceinline__ void store_pack(float* p, const float (&x)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    *reinterpret_cast<float4*>(p + i) = make_float4(x[i], x[i + 1], x[i + 2], x[i + 3]);
  }
}

__device__ __forceinline__ void split(uint32_t word, float& low, float& high) {
  low = __uint_as_float(word << 16);
  high = __uint_as_float(word & 0xffff0000u);
}
__device__ __forceinline__ uint32_t join(float low, float high) {
  return bf16_bits(low) | bf16_bits(high) << 16;
}

__device__ __forceinline__ void load_pack(const bf16* p, float (&x)[8]) {
  const uint4 words = *reinterpret_cast<const uint4*>(p);
  split(words.x, x[0], x[1]), split(words.y, x[2], x[3]);
  split(words.z, x[4], x[5]), split(words.w, x[6], x[7]);
}
__device__ __forceinline__ void load_pack(const bf16* p, float (&x)[4]) {
  const uint2 words = *reinterpret_cast<const uint2*>(p);
  split(words.x, x[0], x[1]), split(words.y, x[2], x[3]);
}
__device__ __forceinline__ void store_pack(bf16* p, const float (&x)[8]) {
  *reinterpret_cast<uint4*>(p) =
      make_uint4(join(x[0], x[1]), join(x[2], x[3]), join(x[4], x[5]), join(x[6], x[7]));
}

// Infinities and NaNs have all exponent bits set.
__device__ __forceinline__ bool is_nonfinite(float x) {
  return (__float_as_uint(x) & 0x7f800000u) == 0x7f800000u;
}
__device__ __forceinline__ bool is_nonfinite(bf16 x) { return (x.bits & 0x7f80u) == 0x7f80u; }
__device__ __forceinline__ bool word_is_nonfinite(uint32_t word, const float*) {
  return (word & 0x7f800000u) == 0x7f800000u;
}
__device__ __forceinline__ bool word_is_nonfinite(uint32_t word, const bf16*) {
  return (word & 0x7f800000u) == 0x7f800000u || (word & 0x7f80u) == 0x7f80u;
}

// The sum over a warp, in every lane: lanes 16 apart add first.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(0xffffffffu, x, apart);
  return x;
}

__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(0xffffffffu, x, apart);
  return x;
}

// The sum over a block whose size is a power of two, in every thread. `buffer` has an entry per
// thread; all threads must call.
__device__ __forceinline__ double block_sum(double x, double* buffer) {
  __syncthreads();
  buffer[threadIdx.x] = x;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) buffer[threadIdx.x] += buffer[threadIdx.x + half];
  }
  __syncthreads();
  return buffer[0];
}

// The one of `count` owners of blocks whose first is at most `block`: `first` ascends.
template <class Arguments>
__device__ __forceinline__ int owner_of(const Arguments& a, int32_t block) {
  int low = 0, high = a.count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (a.first[middle] <= block) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// Called by one thread of each of `blocks` blocks, on a counter that starts at zero: true for the
// last of them, which then sees what the callers wrote before.
__device__ __forceinline__ bool arrives_last(int32_t* counter, int32_t blocks) {
  __threadfence();
  const bool last = atomicAdd(counter, 1) == blocks - 1;
  __threadfence();
  return last;
}

// Reads what another block of this launch wrote.
template <class T>
__device__ __forceinline__ T fresh(const T* p) {
  return *static_cast<const volatile T*>(p);
}

}  // namespace subkern

#if !defined(__CUDACC_RTC__)

namespace subkern {

#if defined(SUBKERN_EMULATE)

constexpr bool kEmulated = true;
inline int device_count() { return 1; }
inline int launch_status() { return 0; }
inline const char* status_text(int) { return "no error"; }
inline int most_shared(int) { return 227 << 10; }
template <class Kernel>
int allow_shared(Kernel*, int64_t) {
  return 0;
}

class DeviceScope {
 public:
  explicit DeviceScope(int) {}
  int status() const { return 0; }
};

#else

#define SK_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  kernel<<<grid, block, shared_bytes, static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)

constexpr bool kEmulated = false;

// Zero without a driver too.
inline int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();  // forget it: this was a question
  return 0;
}
inline int launch_status() { return cudaGetLastError(); }
inline const char* status_text(int status) {
  return cudaGetErrorString(static_cast<cudaError_t>(status));
}

// Bytes of shared memory that a block of the device can have; zero on an error.
inline int most_shared(int device) {
  int bytes = 0;
  const auto limit = cudaDevAttrMaxSharedMemoryPerBlockOptin;
  return cudaDeviceGetAttribute(&bytes, limit, device) == cudaSuccess ? bytes : 0;
}

// Lets a kernel be launched on the current device with that much dynamic shared memory.
template <class Kernel>
int allow_shared(Kernel* kernel, int64_t bytes) {
  if (bytes <= 48 << 10) return 0;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(bytes));
}

// Makes a device current and restores the one before.
class DeviceScope {
 public:
  explicit DeviceScope(int device) {
    status_ = cudaGetDevice(&before_);
    if (status_ == cudaSuccess && before_ != device) {
      status_ = cudaSetDevice(device);
      changed_ = status_ == cudaSuccess;
    }
  }
  ~DeviceScope() {
    if (changed_) cudaSetDevice(before_);
  }
  DeviceScope(const DeviceScope&) = delete;
  int status() const { return status_; }

 private:
  cudaError_t status_ = cudaSuccess;
  int before_ = 0;
  bool changed_ = false;
};

#endif  // SUBKERN_EMULATE

}  // namespace subkern

#endif  // !__CUDACC_RTC__
