// What kernels on groups of numbers share: a block's part of its group, four numbers at a time, and
// sums over all blocks of a group.
#pragma once

#include "group_layout.h"
#include "prims.cuh"

namespace subkern {

struct GroupPart {
  int64_t group, at;  // number of the first element within all groups
  int count;

  __device__ __forceinline__ explicit GroupPart(int64_t n) : group(blockIdx.x) {
    const int64_t length = group_part_of(n), from = blockIdx.y * length;
    at = group * n + from;
    count = static_cast<int>(n - from < length ? n - from : length);
  }
};

__device__ __forceinline__ bool is_aligned(const float* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

// Four consecutive numbers; `left` of them exist, and the others load as zero.
struct GroupFour {
  int i, left;
  bool wide;  // they exist and are aligned

  __device__ __forceinline__ void load(const float* p, float (&x)[4]) const {
    if (wide) {
      load_pack(p + i, x);
    } else {
#pragma unroll
      for (int e = 0; e < 4; ++e) x[e] = e < left ? p[i + e] : 0.0f;
    }
  }
  __device__ __forceinline__ void store(float* p, const float (&x)[4]) const {
    if (wide) {
      store_pack(p + i, x);
    } else {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (e < left) p[i + e] = x[e];
      }
    }
  }
};

// Calls body(four) for what a thread has of `count` numbers, whatever their alignment.
template <class Body>
__device__ __forceinline__ void for_fours(int count, bool aligned, const Body& body) {
#pragma unroll 2
  for (int i = threadIdx.x * 4; i < count; i += kGroupThreads * 4) {
    body(GroupFour{i, count - i, aligned && i + 4 <= count});
  }
}

// True in the block of a group that arrives last, with the sum of what all its threads and those of
// the other blocks brought, added up in a fixed order. `buffer` has an entry per thread.
__device__ __forceinline__ bool sum_group(double own, const GroupSums& to, double* buffer,
                                          int* last, double* total) {
  const int64_t parts = gridDim.y;
  *total = block_sum(own, buffer);
  if (parts == 1) return true;
  double* const sums = to.sums + blockIdx.x * parts;
  if (threadIdx.x == 0) {
    sums[blockIdx.y] = *total;
    *last = arrives_last(to.counters + blockIdx.x, static_cast<int32_t>(parts));
  }
  __syncthreads();
  if (*last == 0) return false;
  double found = 0.0;
  for (int64_t part = threadIdx.x; part < parts; part += kGroupThreads) found += fresh(sums + part);
  *total = block_sum(found, buffer);
  return true;
}

}  // namespace subkern
