// Kernels with one mistake each, chosen by number; the tests name them in the same order.
#include <stdexcept>

#include "probe.h"

namespace {

constexpr unsigned kFull = 0xffffffffu;

__global__ void some_exit(float*) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
}

__global__ void other_kind_of_barrier(float* out) {  // in one line: only the kinds differ
  out[threadIdx.x] = threadIdx.x < 32 ? __syncthreads_and(1) : __syncthreads_or(1);
}

__global__ void other_barrier(float*) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void lane_exited(float* out) {
  if (threadIdx.x == 37) return;
  out[threadIdx.x] = __shfl_up_sync(kFull, 1.0f, 1);
}

__global__ void lane_exits_late(float* out) {
  if (threadIdx.x % 32 != 5) out[threadIdx.x] = __shfl_xor_sync(kFull, 1.0f, 1);
}

__global__ void own_lane_missing(float* out) {
  out[threadIdx.x] = __shfl_sync(0xfffffff7u, 1.0f, 0);
}

__global__ void reads_outside_mask(float* out) {
  if (threadIdx.x % 32 < 16) out[threadIdx.x] = __shfl_down_sync(0x0000ffffu, 1.0f, 8);
}

__global__ void reads_lane_that_never_was(float* out) {  // 72 threads: eight lanes in the last warp
  out[threadIdx.x] = __shfl_xor_sync(kFull, 1.0f, 16);
}

__global__ void warps_block_each_other(float* out) {
  if (threadIdx.x == 63) __syncthreads();  // the rest of its warp waits for this lane
  out[threadIdx.x] = __shfl_xor_sync(kFull, 1.0f, 1);
  if (threadIdx.x != 63) __syncthreads();
}

__global__ void masks_disagree(float* out) {
  const unsigned mask = threadIdx.x % 2 == 0 ? kFull : 0xfffffffeu;
  out[threadIdx.x] = __shfl_sync(mask, 1.0f, 1);
}

__global__ void operations_disagree(float*) {
  if (threadIdx.x % 32 == 0) {
    __syncwarp();
  } else {
    __any_sync(kFull, 1);
  }
}

__global__ void width_of_three(float* out) { out[threadIdx.x] = __shfl_sync(kFull, 1.0f, 0, 3); }

// The compiler must not see that the index is out of bounds.
__device__ void store(float* at, int index, float value) {
  float* volatile hidden = at;
  hidden[index] = value;
}

__global__ void static_overrun(float*) {
  SK_SHARED(float, before, 8);
  SK_SHARED(float, tile, 72);
  before[threadIdx.x % 8] = tile[threadIdx.x] = 0.0f;
  if (threadIdx.x == 3) store(tile, 72, 1.0f);
}

__global__ void static_underrun(float*) {
  SK_SHARED(float, tile, 72);
  if (threadIdx.x == 3) store(tile, -1, 1.0f);
}

__global__ void dynamic_overrun(float*) {
  SK_DYNAMIC_SHARED(float, scratch);
  store(scratch, int(threadIdx.x), 1.0f);  // the launch gives 64 elements, for 72 threads
}

__global__ void too_much_static(float*) {
  SK_SHARED(float, large, 12 * 1024);
  SK_SHARED(float, one_more, 1);
  large[0] = one_more[0];
}

__global__ void throws(float*) {
  __syncthreads();
  if (threadIdx.x == 50) throw std::logic_error("thrown by a kernel");
  __syncthreads();
}

__global__ void nothing_wrong(float* out) {
  SK_SHARED(float, tile, 72);
  SK_DYNAMIC_SHARED(float, scratch);
  tile[threadIdx.x] = scratch[threadIdx.x % 64] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = tile[71 - threadIdx.x] + scratch[0];
}

constexpr void (*kKernels[])(float*) = {some_exit,
                                        other_kind_of_barrier,
                                        other_barrier,
                                        lane_exited,
                                        lane_exits_late,
                                        own_lane_missing,
                                        reads_outside_mask,
                                        reads_lane_that_never_was,
                                        warps_block_each_other,
                                        masks_disagree,
                                        operations_disagree,
                                        width_of_three,
                                        static_overrun,
                                        static_underrun,
                                        dynamic_overrun,
                                        too_much_static,
                                        throws,
                                        nothing_wrong};

__device__ int descend(int depth) {
  volatile char frame[512] = {};
  frame[0] = char(depth);
  return depth == 0 ? frame[0] : descend(depth - 1) + frame[0];
}

// About 110 KB: more than a stack, less than a stack and its guard.
__global__ void overflow_stack(int* out) {
  if (threadIdx.x == 1) *out = descend(200);
}

}  // namespace

PROBE const char* probe_mistake(int number, float* out) {
  return error_of([=] { SK_LAUNCH(kKernels[number], 1, 72, 256, nullptr, out); });
}

PROBE const char* probe_configuration(const unsigned* grid, const unsigned* block) {
  const dim3 blocks(grid[0], grid[1], grid[2]), threads(block[0], block[1], block[2]);
  return error_of([=] { SK_LAUNCH(some_exit, blocks, threads, 0, nullptr, nullptr); });
}

PROBE int probe_overflow_stack() {
  int result = 0;
  SK_LAUNCH(overflow_stack, 1, 2, 0, nullptr, &result);
  return result;
}
