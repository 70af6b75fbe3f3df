// Kernels about blocks: barriers, shared memory, indices, atomics.
#include <cstdint>

#include "probe.h"

namespace {

enum Missing { kNone, kBeforeTree, kInsideTree, kBetweenSums };

// The sum over a block in every thread; `missing` says which barrier the author forgot.
template <int kThreads, Missing missing>
__device__ __forceinline__ float block_sum(float x, float* buffer) {
  if (missing != kBetweenSums) __syncthreads();
  buffer[threadIdx.x] = x;
  if (missing != kBeforeTree) __syncthreads();
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) buffer[threadIdx.x] += buffer[threadIdx.x + half];
    if (missing != kInsideTree || half == 1) __syncthreads();
  }
  return buffer[0];
}

template <int kThreads, Missing missing>
__global__ void __launch_bounds__(kThreads) reduce(const float* x, float* sums) {
  SK_SHARED(float, buffer, kThreads);
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const float sum = block_sum<kThreads, missing>(x[i], buffer);
  const float squares = block_sum<kThreads, missing>(x[i] * x[i], buffer);
  sums[2 * i] = sum;
  sums[2 * i + 1] = squares;
}

// Reads the left neighbour's value, without a barrier: right by luck in the natural order.
__global__ void lucky(float* out) {
  SK_SHARED(float, values, 64);
  values[threadIdx.x] = float(threadIdx.x);
  out[threadIdx.x] = values[threadIdx.x == 0 ? 0 : threadIdx.x - 1];
}

__global__ void unwritten(float* seen, int dynamic_count) {
  SK_SHARED(float, first, 8);
  SK_SHARED(float2, second, 4);
  SK_DYNAMIC_SHARED(float, third);
  if (threadIdx.x == 0) {
    float* out = seen + int64_t(blockIdx.x) * (16 + dynamic_count);
    for (int i = 0; i < 8; ++i) out[i] = first[i];
    for (int i = 0; i < 4; ++i) out[8 + 2 * i] = second[i].x, out[9 + 2 * i] = second[i].y;
    for (int i = 0; i < dynamic_count; ++i) out[16 + i] = third[i];
  }
  __syncthreads();
  first[threadIdx.x % 8] = 1.0f;  // the next block must not see it
  second[threadIdx.x % 4] = make_float2(2.0f, 3.0f);
  if (int(threadIdx.x) < dynamic_count) third[threadIdx.x] = 4.0f;
}

// Reverses each block's part of x through dynamic shared memory.
template <class T>
__global__ void reverse(const T* x, T* out) {
  SK_DYNAMIC_SHARED(T, part);
  const unsigned i = threadIdx.x, base = blockIdx.x * blockDim.x;
  part[i] = x[base + i];
  __syncthreads();
  out[base + i] = part[blockDim.x - 1 - i];
}

__global__ void indices(uint64_t* out) {
  const uint64_t thread =
      threadIdx.x + uint64_t(blockDim.x) * (threadIdx.y + uint64_t(blockDim.y) * threadIdx.z);
  const uint64_t block =
      blockIdx.x + uint64_t(gridDim.x) * (blockIdx.y + uint64_t(gridDim.y) * blockIdx.z);
  const uint64_t threads = uint64_t(blockDim.x) * blockDim.y * blockDim.z;
  __syncthreads();
  out[block * threads + thread] += 1 + block * threads + thread;
}

__global__ void predicates(const int* x, int* out) {
  const int value = x[threadIdx.x];
  out[3 * threadIdx.x] = __syncthreads_or(value);
  out[3 * threadIdx.x + 1] = __syncthreads_and(value);
  out[3 * threadIdx.x + 2] = __syncthreads_count(value);
}

struct Totals {
  int sum, largest;
  unsigned united, common;
  unsigned long long wide;
  float real;
  int smallest, swaps;
};

__global__ void atomics(Totals* totals, int* old_values) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  old_values[atomicAdd(&totals->sum, 1)] = 1;
  atomicMax(&totals->largest, i);
  atomicMin(&totals->smallest, -i);
  atomicOr(&totals->united, 1u << (i % 32));
  atomicAnd(&totals->common, ~(1u << (i % 8)));
  atomicAdd(&totals->wide, 1ull << 33);
  atomicAdd(&totals->real, 0.5f);
  int seen = totals->swaps, expected;
  do {
    expected = seen;
    seen = atomicCAS(&totals->swaps, expected, expected + 1);
  } while (seen != expected);
  __threadfence();
}

// Each block stores its sum; the last to arrive adds them in the order of blocks.
template <int kThreads>
__global__ void last_block(const float* x, float* partial, unsigned* arrived, float* total) {
  SK_SHARED(float, buffer, kThreads);
  SK_SHARED(bool, is_last, 1);
  const float sum = block_sum<kThreads, kNone>(x[blockIdx.x * kThreads + threadIdx.x], buffer);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    is_last[0] = atomicAdd(arrived, 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (!is_last[0]) return;
  if (threadIdx.x == 0) {
    float all = 0.0f;
    for (unsigned b = 0; b < gridDim.x; ++b) all += partial[b];
    *total = all;
  }
}

__global__ void wait_often(int rounds) {
  for (int i = 0; i < rounds; ++i) __syncthreads();
}

}  // namespace

PROBE const char* probe_reduce(int missing, int blocks, const float* x, float* sums) {
  constexpr void (*kKernels[])(const float*, float*) = {
      reduce<128, kNone>, reduce<128, kBeforeTree>, reduce<128, kInsideTree>,
      reduce<128, kBetweenSums>};
  return error_of([=] { SK_LAUNCH(kKernels[missing], blocks, 128, 0, nullptr, x, sums); });
}

PROBE const char* probe_lucky(float* out) {
  return error_of([=] { SK_LAUNCH(lucky, 1, 64, 0, nullptr, out); });
}

PROBE const char* probe_unwritten(int blocks, float* seen, int dynamic_count) {
  const size_t bytes = dynamic_count * sizeof(float);
  return error_of([=] { SK_LAUNCH(unwritten, blocks, 32, bytes, nullptr, seen, dynamic_count); });
}

PROBE const char* probe_reverse(int blocks, int threads, const double* x, double* out) {
  const size_t bytes = threads * sizeof(double);
  return error_of([=] { SK_LAUNCH((reverse<double>), blocks, threads, bytes, nullptr, x, out); });
}

PROBE const char* probe_indices(const unsigned* grid, const unsigned* block, uint64_t* out) {
  const dim3 blocks(grid[0], grid[1], grid[2]), threads(block[0], block[1], block[2]);
  return error_of([=] { SK_LAUNCH(indices, blocks, threads, 0, nullptr, out); });
}

PROBE const char* probe_predicates(int threads, const int* x, int* out) {
  return error_of([=] { SK_LAUNCH(predicates, 1, threads, 0, nullptr, x, out); });
}

PROBE const char* probe_atomics(int blocks, int threads, Totals* totals, int* old_values) {
  return error_of([=] { SK_LAUNCH(atomics, blocks, threads, 0, nullptr, totals, old_values); });
}

PROBE const char* probe_last_block(int blocks, const float* x, float* partial, unsigned* arrived,
                                   float* total) {
  return error_of(
      [=] { SK_LAUNCH((last_block<64>), blocks, 64, 0, nullptr, x, partial, arrived, total); });
}

PROBE const char* probe_wait_often(int blocks, int threads, int rounds) {
  return error_of([=] { SK_LAUNCH(wait_often, blocks, threads, 0, nullptr, rounds); });
}

PROBE const char* probe_dynamic_bytes(int64_t bytes) {
  return error_of([=] { SK_LAUNCH(wait_often, 1, 32, size_t(bytes), nullptr, 1); });
}
