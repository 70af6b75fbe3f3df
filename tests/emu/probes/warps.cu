// Kernels about warps: shuffles, votes, reductions.
#include <cstdint>

#include "probe.h"

namespace {

enum Shuffle { kIndex, kUp, kDown, kXor };

template <class T>
__global__ void shuffle(int kind, unsigned mask, int amount, int width, const T* x, T* out) {
  const unsigned i = threadIdx.x;
  if ((mask >> (i % 32) & 1) == 0) return;
  T value = x[i];
  if (kind == kIndex) value = __shfl_sync(mask, value, amount, width);
  if (kind == kUp) value = __shfl_up_sync(mask, value, unsigned(amount), width);
  if (kind == kDown) value = __shfl_down_sync(mask, value, unsigned(amount), width);
  if (kind == kXor) value = __shfl_xor_sync(mask, value, amount, width);
  out[i] = value;
}

// Each half of a warp votes alone, at a place of its own; then the whole warp reduces.
__global__ void votes(const int* x, unsigned* out) {
  const int value = x[threadIdx.x];
  unsigned* own = out + 9 * threadIdx.x;
  if (threadIdx.x % 32 < 16) {
    own[0] = __ballot_sync(0x0000ffffu, value);
    own[1] = __any_sync(0x0000ffffu, value);
    own[2] = __all_sync(0x0000ffffu, value);
  } else {
    own[0] = __ballot_sync(0xffff0000u, value);
    __syncwarp(0xffff0000u);
    own[1] = __any_sync(0xffff0000u, value);
    own[2] = __all_sync(0xffff0000u, value);
  }
  own[3] = unsigned(__reduce_add_sync(~0u, value));
  own[4] = unsigned(__reduce_min_sync(~0u, value));
  own[5] = unsigned(__reduce_max_sync(~0u, value));
  own[6] = __reduce_and_sync(~0u, unsigned(value));
  own[7] = __reduce_or_sync(~0u, unsigned(value));
  own[8] = __reduce_max_sync(~0u, unsigned(value));
}

// The second warp shuffles while the first waits at the barrier of the block.
__global__ void one_warp_works(int* out) {
  SK_SHARED(int, total, 1);
  if (threadIdx.x >= 32) {
    int sum = int(threadIdx.x);
    for (int apart = 16; apart > 0; apart /= 2) sum += __shfl_xor_sync(~0u, sum, apart);
    if (threadIdx.x == 32) total[0] = sum;
  }
  __syncthreads();
  out[threadIdx.x] = total[0];
}

// Neighbours exchange through shared memory; __syncwarp orders the two sides.
__global__ void exchange(int* out) {
  SK_SHARED(int, values, 128);
  values[threadIdx.x] = int(threadIdx.x);
  __syncwarp();
  out[threadIdx.x] = values[threadIdx.x ^ 1];
}

}  // namespace

#define PROBE_SHUFFLE(T, name)                                                             \
  PROBE const char* probe_shuffle_##name(int threads, int kind, unsigned mask, int amount, \
                                         int width, const T* x, T* out) {                  \
    return error_of([=] {                                                                  \
      SK_LAUNCH(shuffle<T>, 1, threads, 0, nullptr, kind, mask, amount, width, x, out);    \
    });                                                                                    \
  }
PROBE_SHUFFLE(int, int32)
PROBE_SHUFFLE(unsigned, uint32)
PROBE_SHUFFLE(float, float32)
PROBE_SHUFFLE(double, float64)
PROBE_SHUFFLE(long long, int64)

PROBE const char* probe_votes(int threads, const int* x, unsigned* out) {
  return error_of([=] { SK_LAUNCH(votes, 1, threads, 0, nullptr, x, out); });
}

PROBE const char* probe_one_warp_works(int* out) {
  return error_of([=] { SK_LAUNCH(one_warp_works, 1, 64, 0, nullptr, out); });
}

PROBE const char* probe_exchange(int threads, int* out) {
  return error_of([=] { SK_LAUNCH(exchange, 1, threads, 0, nullptr, out); });
}
