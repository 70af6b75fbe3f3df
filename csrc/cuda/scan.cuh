// Largest magnitude, sum of squares and finiteness of each matrix, in one read.
#pragma once

#include "prims.cuh"
#include "scan_layout.h"

namespace subkern {

__device__ __forceinline__ uint32_t magnitude_bits(float x) {
  return __float_as_uint(x) & 0x7fffffffu;
}

struct ScanSums {
  double square = 0.0;
  uint32_t largest = 0;

  __device__ __forceinline__ void see(float x) {
    const double wide = x;
    square = fma(wide, wide, square);
    largest = max(largest, magnitude_bits(x));
  }
};

// Each thread sums the elements that lie kScanThreads * 8 apart and the seven after each, whatever
// the alignment. The last block to arrive adds up what all left, in their order.
template <class T>
__global__ void __launch_bounds__(kScanThreads)
    scan_kernel(const __grid_constant__ ScanArguments a) {
  SK_SHARED(double, buffer, kScanThreads);
  SK_SHARED(uint32_t, most, kScanThreads / kWarp);
  SK_SHARED(int, last, 1);
  constexpr int kRun = 8, kVector = 16 / sizeof(T);
  const int64_t matrix = blockIdx.x, block = blockIdx.y, blocks = gridDim.y;
  const int64_t length = scan_block_of(a.n), begin = block * length;
  const int count = static_cast<int>(a.n - begin < length ? a.n - begin : length);
  const T* const x = static_cast<const T*>(a.X) + matrix * a.matrix_stride + begin;
  const bool aligned = reinterpret_cast<uintptr_t>(x) % 16 == 0;
  ScanSums sums;
#pragma unroll 2
  for (int i = threadIdx.x * kRun; i < count; i += kScanThreads * kRun) {
    if (aligned && i + kRun <= count) {
#pragma unroll
      for (int v = 0; v < kRun; v += kVector) {
        float values[kVector];
        load_pack(x + i + v, values);
#pragma unroll
        for (int e = 0; e < kVector; ++e) sums.see(values[e]);
      }
    } else {
      for (int e = i; e < count && e < i + kRun; ++e) sums.see(widen(x[e]));
    }
  }
  const double square = block_sum(sums.square, buffer);
  sums.largest = __reduce_max_sync(0xffffffffu, sums.largest);
  if (threadIdx.x % kWarp == 0) most[threadIdx.x / kWarp] = sums.largest;
  __syncthreads();
  if (threadIdx.x == 0) {
    uint32_t largest = 0;
    for (int w = 0; w < kScanThreads / kWarp; ++w) largest = max(largest, most[w]);
    a.sums[matrix * blocks + block] = square;
    a.largest[matrix * blocks + block] = largest;
    last[0] = arrives_last(a.counters + matrix, static_cast<int32_t>(blocks));
  }
  __syncthreads();
  if (last[0] == 0) return;
  double total = 0.0;
  uint32_t largest = 0;
  for (int64_t b = threadIdx.x; b < blocks; b += kScanThreads) {
    total += fresh(a.sums + matrix * blocks + b);
    largest = max(largest, fresh(a.largest + matrix * blocks + b));
  }
  total = block_sum(total, buffer);
  largest = __reduce_max_sync(0xffffffffu, largest);
  if (threadIdx.x % kWarp == 0) most[threadIdx.x / kWarp] = largest;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 0; w < kScanThreads / kWarp; ++w) largest = max(largest, most[w]);
  const bool finite = largest < 0x7f800000u;
  const double nan = static_cast<double>(__uint_as_float(0x7fc00000u));
  double* const results = a.results + 3 * matrix;
  results[0] = finite ? static_cast<double>(__uint_as_float(largest)) : nan;
  results[1] = finite ? total : nan;
  results[2] = finite ? 0.0 : 1.0;
}

}  // namespace subkern
