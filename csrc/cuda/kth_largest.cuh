// The k-th largest by digits of its key, from the top: blocks count a digit in shared memory and
// add their counts up in global memory, and the last of them finds the digit. Counts are integers,
// so that no order of blocks changes anything. A launch for each digit, or one where a block does.
#pragma once

#include "select_key.cuh"

namespace subkern {

constexpr int kSelectWarps = kSelectThreads / kWarp;

// The sum of `x` over the threads before this one, and in `total` over all of them. `buffer` has an
// entry per warp; all threads must call.
__device__ __forceinline__ int64_t sum_before(int64_t x, int64_t* buffer, int64_t& total) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  int64_t through = x;
#pragma unroll
  for (int apart = 1; apart < kWarp; apart *= 2) {
    const int64_t other = __shfl_up_sync(0xffffffffu, through, static_cast<unsigned>(apart));
    if (lane >= apart) through += other;
  }
  __syncthreads();
  if (lane == kWarp - 1) buffer[warp] = through;
  __syncthreads();
  int64_t before = through - x;
  total = 0;
  for (int w = 0; w < kSelectWarps; ++w) {
    if (w < warp) before += buffer[w];
    total += buffer[w];
  }
  return before;
}

template <class T>
__device__ __forceinline__ void write_value(uint32_t key, void* value) {
  // 0 is NaN, and the only key that no number has.
  const uint32_t bits = key == 0 ? 0x7fc00000u : key & kSignBit ? key & ~kSignBit : ~key;
  narrow(__uint_as_float(bits & ~0u << SelectDigits<T>::kLowest), *static_cast<T*>(value));
}

// Of a level's counts the bin, from the top, in which the rank falls; all threads call. What no bin
// holds counts as bin 0: entries of the other side, where a mask has too few.
template <class T, bool kByMask>
__device__ __forceinline__ void find_digit(const SelectArguments& a, int level, int side,
                                           const uint64_t* bins, int64_t* sums) {
  constexpr int kOwn = kSelectBins / kSelectThreads;
  using Digits = SelectDigits<T>;
  const int top = kSelectBins - 1 - static_cast<int>(threadIdx.x) * kOwn;
  const uint32_t prefix = level == 0 ? 0u : fresh(&a.states[side].prefix);
  const int64_t rank = level == 0 ? a.k : fresh(&a.states[side].rank);
  int64_t held[kOwn], own = 0, total = 0;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    held[i] = static_cast<int64_t>(fresh(bins + top - i));
    own += held[i];
  }
  int64_t before = sum_before(own, sums, total);  // every thread has read the state after it
  int bin = -1;
  int64_t equal = 0;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    if (bin < 0 && before < rank && rank <= before + held[i]) {
      bin = top - i;
      equal = held[i];
    }
    if (bin < 0) before += held[i];
  }
  if (threadIdx.x == 0 && rank > total) {
    bin = 0;
    before = total;
  }
  if (bin < 0) return;
  SelectState& state = a.states[side];
  state.prefix = prefix | static_cast<uint32_t>(bin) << Digits::shift(level);
  state.rank = rank - before;
  if (!kByMask && level + 1 == Digits::kLevels) {
    write_value<T>(state.prefix, a.value);
    *a.above = a.k - state.rank;
    *a.equal = equal;
  }
}

template <class T, bool kByMask>
__global__ void __launch_bounds__(kSelectThreads)
    select_kernel(const __grid_constant__ SelectArguments a) {
  using Digits = SelectDigits<T>;
  constexpr int kSides = kByMask ? 2 : 1, kCopies = kSelectCopies / kSides;
  SK_SHARED(int32_t, counts, kSelectCounts);
  SK_SHARED(int64_t, sums, kSelectWarps);
  SK_SHARED(int, last, 1);
  const int64_t length = select_block_of(a.n), begin = blockIdx.x * length;
  const int64_t end = begin + length < a.n ? begin + length : a.n;
  const bool aligned = select_aligned<T, kByMask>(a);
  const int copy = static_cast<int>(threadIdx.x) % kCopies;
#pragma unroll 1
  for (int level = a.level; level < a.end; ++level) {
    for (int i = threadIdx.x; i < kSelectCounts; i += kSelectThreads) counts[i] = 0;
    __syncthreads();
    const uint32_t mask = select_mask<T>(level), last_digit = Digits::last(level);
    const int shift = Digits::shift(level);
    uint32_t prefix[kSides];
#pragma unroll
    for (int s = 0; s < kSides; ++s) prefix[s] = level == 0 ? 0u : fresh(&a.states[s].prefix);
#pragma unroll 1
    for (int64_t tile = begin; tile < end; tile += kSelectTile) {
      const SelectPlace at(tile, end);
      if (at.count == 0) break;
      uint32_t keys[kSelectRun];
      const uint32_t first = load_keys<T, kByMask>(a, at, aligned, keys);
#pragma unroll
      for (int e = 0; e < kSelectRun; ++e) {
        const int side = kByMask && (first >> e & 1u) == 0 ? 1 : 0;
        const uint32_t wanted = kByMask && side == 1 ? prefix[kSides - 1] : prefix[0];
        if (e < at.count && (keys[e] & mask) == wanted) {
          const int bin = side * kSelectBins + static_cast<int>(keys[e] >> shift & last_digit);
          atomicAdd(&counts[bin * kCopies + copy], 1);
        }
      }
    }
    __syncthreads();
    uint64_t* const bins = a.bins + int64_t{level} * kSides * kSelectBins;
    for (int i = threadIdx.x; i < kSides * kSelectBins; i += kSelectThreads) {
      int32_t count = 0;
#pragma unroll
      for (int c = 0; c < kCopies; ++c) count += counts[i * kCopies + c];
      if (count != 0) {
        atomicAdd(reinterpret_cast<unsigned long long*>(bins + i),
                  static_cast<unsigned long long>(count));
      }
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      last[0] = arrives_last(a.counters + level, static_cast<int32_t>(gridDim.x));
    }
    __syncthreads();
    if (last[0] == 0) return;
#pragma unroll 1
    for (int s = 0; s < kSides; ++s) {
      find_digit<T, kByMask>(a, level, s, bins + int64_t{s} * kSelectBins, sums);
    }
    __syncthreads();
  }
}

}  // namespace subkern
