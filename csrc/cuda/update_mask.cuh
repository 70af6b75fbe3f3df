// Entries leave a mask and as many enter it, once both thresholds are known: each block counts what
// it has over and at them, and then writes its part of the mask and of both ascending lists.
#pragma once

#include "kth_largest.cuh"
#include "update_mask_layout.h"

namespace subkern {

// Bits of a run: which are over their side's threshold and which are at it.
struct SwapRun {
  uint32_t inside;
  uint32_t above[2], equal[2];
};

// An entry of the other side has the key 0, below all of this side: it is at the threshold where a
// side has too few entries, so that lists are always filled.
template <class T>
__device__ __forceinline__ SwapRun judge_run(const SelectArguments& a, const SelectPlace& at,
                                             bool aligned, const uint32_t (&thresholds)[2]) {
  uint32_t keys[kSelectRun];
  SwapRun run{load_keys<T, true>(a, at, aligned, keys), {0, 0}, {0, 0}};
#pragma unroll
  for (int e = 0; e < kSelectRun; ++e) {
    const uint32_t bit = e < at.count ? 1u << e : 0u;
    const uint32_t key = keys[e] & ~0u << SelectDigits<T>::kLowest;
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const uint32_t own = (run.inside >> e & 1u) == (s == 0 ? 1u : 0u) ? key : 0u;
      run.above[s] |= own > thresholds[s] ? bit : 0u;
      run.equal[s] |= own == thresholds[s] ? bit : 0u;
    }
  }
  return run;
}

template <class T>
__global__ void __launch_bounds__(kSelectThreads)
    swap_count_kernel(const __grid_constant__ SwapArguments a) {
  SK_SHARED(int32_t, totals, 4);
  if (threadIdx.x < 4) totals[threadIdx.x] = 0;
  __syncthreads();
  const SelectArguments& s = a.select;
  const int64_t length = select_block_of(s.n), begin = blockIdx.x * length;
  const int64_t end = begin + length < s.n ? begin + length : s.n;
  const bool aligned = select_aligned<T, true>(s);
  const uint32_t thresholds[] = {s.states[0].prefix, s.states[1].prefix};
  int32_t own[4] = {0, 0, 0, 0};
#pragma unroll 1
  for (int64_t tile = begin; tile < end; tile += kSelectTile) {
    const SelectPlace at(tile, end);
    if (at.count == 0) break;
    const SwapRun run = judge_run<T>(s, at, aligned, thresholds);
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      own[side] += __popc(run.above[side]);
      own[2 + side] += __popc(run.equal[side]);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int32_t sum = __reduce_add_sync(0xffffffffu, own[i]);
    if (threadIdx.x % kWarp == 0) atomicAdd(&totals[i], sum);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    a.counts[blockIdx.x] = {{totals[0], totals[1]}, {totals[2], totals[3]}};
  }
}

// Of a run's entries over the threshold and at it those that are taken, appended to a list: `above`
// and `equal` come before, and of those at the threshold the first `ties` are taken.
__device__ __forceinline__ uint32_t append(int64_t* list, int64_t above, int64_t equal,
                                           int64_t ties, uint32_t over, uint32_t tied,
                                           int64_t from) {
  const int64_t left = ties - equal;
  for (int kept = __popc(tied); kept > 0 && kept > left; --kept) {
    tied &= ~(1u << (31 - __clz(static_cast<int>(tied))));
  }
  const uint32_t taken = over | tied;
  int64_t* to = list + above + (left > 0 ? equal : ties);
#pragma unroll 1
  for (uint32_t bits = taken; bits != 0; bits &= bits - 1) {
    *to++ = from + __ffs(static_cast<int>(bits)) - 1;
  }
  return taken;
}

// The bytes of a run, 0 or 1 by bits.
__device__ __forceinline__ void store_mask(uint8_t* p, int count, bool whole, uint32_t bits) {
  if (whole) {
    uint32_t low = 0, high = 0;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      low |= (bits >> e & 1u) << 8 * e;
      high |= (bits >> (4 + e) & 1u) << 8 * e;
    }
    *reinterpret_cast<uint2*>(p) = make_uint2(low, high);
    return;
  }
#pragma unroll
  for (int e = 0; e < kSelectRun; ++e) {
    if (e < count) p[e] = static_cast<uint8_t>(bits >> e & 1u);
  }
}

template <class T>
__global__ void __launch_bounds__(kSelectThreads)
    swap_kernel(const __grid_constant__ SwapArguments a) {
  SK_SHARED(int64_t, sums, kSelectWarps);
  const SelectArguments& s = a.select;
  const int64_t length = select_block_of(s.n), begin = blockIdx.x * length;
  const int64_t end = begin + length < s.n ? begin + length : s.n;
  const bool aligned = select_aligned<T, true>(s);
  const bool stores = reinterpret_cast<uintptr_t>(a.updated) % 8 == 0;
  const uint32_t thresholds[] = {s.states[0].prefix, s.states[1].prefix};
  int64_t above[2], equal[2];
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    int64_t over = 0, tied = 0;
    for (unsigned b = threadIdx.x; b < blockIdx.x; b += kSelectThreads) {
      over += a.counts[b].above[side];
      tied += a.counts[b].equal[side];
    }
    sum_before(over, sums, above[side]);
    sum_before(tied, sums, equal[side]);
  }
#pragma unroll 1
  for (int64_t tile = begin; tile < end; tile += kSelectTile) {
    const SelectPlace at(tile, end);
    const SwapRun run = judge_run<T>(s, at, aligned, thresholds);
    // Four counts in one number: a tile has 4096 entries.
    int64_t found = 0, total = 0;
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      found |= static_cast<int64_t>(__popc(run.above[side])) << 32 * side;
      found |= static_cast<int64_t>(__popc(run.equal[side])) << (32 * side + 16);
    }
    const int64_t before = sum_before(found, sums, total);
    uint32_t taken[2] = {0, 0};
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const int over = static_cast<int>(before >> 32 * side & 0xffff);
      const int tied = static_cast<int>(before >> (32 * side + 16) & 0xffff);
      if ((run.above[side] | run.equal[side]) != 0) {
        taken[side] = append(a.lists[side], above[side] + over, equal[side] + tied,
                             s.states[side].rank, run.above[side], run.equal[side], at.from);
      }
      above[side] += total >> 32 * side & 0xffff;
      equal[side] += total >> (32 * side + 16) & 0xffff;
    }
    const uint32_t updated = (run.inside & ~taken[0]) | taken[1];
    store_mask(a.updated + at.from, at.count, stores && at.count == kSelectRun, updated);
  }
}

}  // namespace subkern
