// Runs CUDA C++ kernels on the CPU, for tests: one fiber per CUDA thread, one block at a time.
// This file holds what kernels see; fibers.h runs the threads; context.h switches between stacks.
//
// Kernels compile unchanged with nvcc and g++ if they
// - declare shared memory by SK_SHARED(T, name, count) and SK_DYNAMIC_SHARED(T, name): g++ ignores
//   section attributes in templates, so a __shared__ prefix could not find the arrays to fill them;
// - launch by SK_LAUNCH(kernel, grid, block, shared_bytes, stream, arguments...);
// - do not spin on memory: a fiber gives way only at barriers and warp operations.
//
// A launch throws std::runtime_error, with a list of the threads and what each waits for, when
// threads of a block miss a barrier or wait at different ones, on deadlock, when a warp operation
// names an exited lane, omits its own, or reads one outside of the mask, and when bytes around a
// shared array were written. Lanes that the block never had drop out of masks.
// Shared memory starts each block as 0xFF bytes, which are NaN. A seed other than 0 shuffles the
// order of blocks, and of ready threads at every phase. Address and undefined-behaviour sanitizers
// work. Launches of several OS threads take turns.
#pragma once

#include <math.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>

#include "fibers.h"

#pragma GCC visibility push(hidden)  // two emulated modules of a process share nothing

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static_assert(false, "declare by SK_SHARED or SK_DYNAMIC_SHARED");
#define SK_SHARED(T, name, count) \
  static char name##_key;         \
  T(&name)[count] = *static_cast<T(*)[count]>(emu::shared(&name##_key, #name, sizeof(T[count])))
#define SK_DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(emu::machine.dynamic)
#define SK_LAUNCH(kernel, ...) emu::launch(kernel, __VA_ARGS__)

#define SK_EMU_VECTORS(T, name)                              \
  struct alignas(2 * sizeof(T)) name##2 { T x, y; };         \
  struct alignas(4 * sizeof(T)) name##4 { T x, y, z, w; };   \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; } \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
SK_EMU_VECTORS(int, int)
SK_EMU_VECTORS(unsigned, uint)
SK_EMU_VECTORS(float, float)
SK_EMU_VECTORS(unsigned short, ushort)
constexpr int warpSize = 32;

namespace emu {

template <class T>
struct Same {  // keeps T out of deduction, so that an argument converts as in a plain call
  using type = T;
};

template <class... P>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, const void* stream,
            typename Same<P>::type... arguments) {
  (void)stream;
  run_grid(grid, block, shared_bytes, [&] { kernel(arguments...); });
}

template <class To, class From>
To bits(From from) {
  To to{};
  std::memcpy(&to, &from, std::min(sizeof to, sizeof from));
  return to;
}

// The set of lanes that bring true.
inline unsigned vote(const char* name, unsigned mask, bool value, Where where) {
  const auto join = [](uint64_t left, uint64_t right) { return left | right; };
  const uint64_t own = uint64_t(value) << machine.self->index % kWarp;
  return unsigned(warp_operation(name, mask, own, kNoLane, join, where));
}

struct Segment {  // of the warp, `width` lanes
  int lane, first, last;
  explicit Segment(int width) : lane(int(machine.self->index % kWarp)) {
    if (width < 1 || width > warpSize || (width & (width - 1)) != 0) fail("width of a shuffle");
    first = lane & -width;
    last = lane | (width - 1);
  }
};

template <class T>
T read_lane(const char* name, unsigned mask, T value, int source, Where where) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4, "a number of 32 or 64 bits");
  if (unsigned(source) >= kWarp) fail(std::string(name) + ": the source is not a lane");
  const auto unused = [](uint64_t, uint64_t) { return uint64_t(0); };
  const uint64_t brought = bits<uint64_t>(value);
  return bits<T>(warp_operation(name, mask, brought, unsigned(source), unused, where));
}

}  // namespace emu

#define SK_EMU_HERE emu::Where where = emu::Where::here()
inline void __syncthreads(SK_EMU_HERE) { emu::barrier("__syncthreads", false, where); }
#define SK_EMU_BARRIER(name, expression)                           \
  inline int name(int value, SK_EMU_HERE) {                        \
    const unsigned count = emu::barrier(#name, value != 0, where); \
    return int(expression);                                        \
  }
SK_EMU_BARRIER(__syncthreads_or, count != 0)
SK_EMU_BARRIER(__syncthreads_and, count == emu::machine.threads)
SK_EMU_BARRIER(__syncthreads_count, count)

inline void __syncwarp(unsigned mask = ~0u, SK_EMU_HERE) {
  emu::vote("__syncwarp", mask, false, where);
}
inline unsigned __ballot_sync(unsigned mask, int value, SK_EMU_HERE) {
  return emu::vote("__ballot_sync", mask, value != 0, where);
}
inline int __any_sync(unsigned mask, int value, SK_EMU_HERE) {
  return emu::vote("__any_sync", mask, value != 0, where) != 0;
}
inline int __all_sync(unsigned mask, int value, SK_EMU_HERE) {
  return emu::vote("__all_sync", mask, value == 0, where) == 0;
}

// A lane whose source lies past the end of its segment of `width` lanes, or for __shfl_up_sync
// before the start, gets its own value.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, SK_EMU_HERE) {
  const emu::Segment own(width);
  const int from = own.first | (source & (width - 1));
  return emu::read_lane("__shfl_sync", mask, value, from, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, SK_EMU_HERE) {
  const emu::Segment own(width);
  const int from = own.lane - int(delta);
  return emu::read_lane("__shfl_up_sync", mask, value, from < own.first ? own.lane : from, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, SK_EMU_HERE) {
  const emu::Segment own(width);
  const int from = own.lane + int(delta);
  return emu::read_lane("__shfl_down_sync", mask, value, from > own.last ? own.lane : from, where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int flip, int width = warpSize, SK_EMU_HERE) {
  const emu::Segment own(width);
  const int from = own.lane ^ flip;
  return emu::read_lane("__shfl_xor_sync", mask, value, from > own.last ? own.lane : from, where);
}

#define SK_EMU_REDUCE(name, expression)                                         \
  template <class T>                                                            \
  T name(unsigned mask, T value, SK_EMU_HERE) {                                 \
    static_assert(std::is_integral_v<T> && sizeof(T) == 4, "int or unsigned");  \
    const auto fold = [](uint64_t left, uint64_t right) {                       \
      const T x = T(left), y = T(right);                                        \
      return emu::bits<uint64_t>(T(expression));                                \
    };                                                                          \
    const uint64_t own = emu::bits<uint64_t>(value);                            \
    return T(emu::warp_operation(#name, mask, own, emu::kNoLane, fold, where)); \
  }
SK_EMU_REDUCE(__reduce_add_sync, unsigned(x) + unsigned(y))
SK_EMU_REDUCE(__reduce_min_sync, std::min(x, y))
SK_EMU_REDUCE(__reduce_max_sync, std::max(x, y))
SK_EMU_REDUCE(__reduce_and_sync, (x & y))
SK_EMU_REDUCE(__reduce_or_sync, (x | y))

// Blocks and threads take turns, so plain memory is atomic. Values convert to T as in CUDA's calls.
#define SK_EMU_ATOMIC(name, expression)                                                    \
  template <class T>                                                                       \
  T name(T* at, typename emu::Same<T>::type value) {                                       \
    static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4, "a number of 32 or 64 bits"); \
    const T old = *at;                                                                     \
    *at = (expression);                                                                    \
    return old;                                                                            \
  }
SK_EMU_ATOMIC(atomicAdd, old + value)
SK_EMU_ATOMIC(atomicMax, std::max(old, value))
SK_EMU_ATOMIC(atomicMin, std::min(old, value))
SK_EMU_ATOMIC(atomicAnd, (old & value))
SK_EMU_ATOMIC(atomicOr, (old | value))
SK_EMU_ATOMIC(atomicExch, value)
template <class T>
T atomicCAS(T* at, typename emu::Same<T>::type expected, typename emu::Same<T>::type value) {
  return atomicExch(at, *at == expected ? value : *at);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

using std::max;
using std::min;
template <class T>
void __stwb(T* at, T value) {
  *at = value;
}
template <class T>
T __ldg(const T* at) {
  return *at;
}
inline unsigned __float_as_uint(float value) { return emu::bits<unsigned>(value); }
inline float __uint_as_float(unsigned value) { return emu::bits<float>(value); }
inline int __float_as_int(float value) { return emu::bits<int>(value); }
inline float __int_as_float(int value) { return emu::bits<float>(value); }
inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __clz(int value) { return value == 0 ? 32 : __builtin_clz(unsigned(value)); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }

struct __nv_bfloat16 {
  unsigned short bits;
};
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return {bits}; }
inline float __bfloat162float(__nv_bfloat16 x) { return __uint_as_float(unsigned(x.bits) << 16); }
inline __nv_bfloat16 __float2bfloat16_rn(float value) {  // to nearest, ties to even; NaN is 0x7FFF
  const unsigned bits = __float_as_uint(value), rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  return {static_cast<unsigned short>(value != value ? 0x7FFF : rounded)};
}
inline __nv_bfloat16 __float2bfloat16(float value) { return __float2bfloat16_rn(value); }

// Exported, so that tests call them on a loaded module.
#define SK_EMU_EXPORT extern "C" __attribute__((visibility("default"), used)) inline
SK_EMU_EXPORT void sk_emu_set_seed(uint64_t seed) { emu::machine.seed = seed; }
SK_EMU_EXPORT uint64_t sk_emu_switches() { return emu::machine.switches; }

#pragma GCC visibility pop
