// A block draws from one row: keys by Philox and a logarithm in registers, the k-th largest by a
// radix select in shared memory, the columns above it in their order, and the rows they gather.
//
// Where few rows gather much, several blocks draw the same sample and share what is gathered.
#pragma once

#include "philox.cuh"
#include "sample_key.cuh"
#include "sample_layout.h"

namespace subkern {

constexpr int kSampleWarps = kSampleThreads / kWarp;
constexpr uint32_t kEveryLane = 0xffffffffu;

struct Threshold {
  uint32_t prefix, mask;  // of the k-th largest key; the rest of its bits does not matter
  int32_t ties;           // how many of the keys with that prefix are drawn
};

// Keys of the row into `keys`, 0 for a zero weight. True if a weight is negative or NaN; `positive`
// is this thread's count of positive weights.
template <class T>
__device__ __forceinline__ bool make_keys(const SampleArguments& a, const T* weights, int64_t row,
                                          uint32_t* keys, int32_t& positive) {
  bool bad = false;
  const int64_t counters = (static_cast<int64_t>(a.n) + 63) / 64 * 16;
#pragma unroll 1
  for (int64_t c = threadIdx.x; c < counters; c += kSampleThreads) {
    uint32_t words[4] = {static_cast<uint32_t>(a.offset), static_cast<uint32_t>(a.offset >> 32),
                         static_cast<uint32_t>(row), static_cast<uint32_t>(c)};
    const int64_t first = c / 16 * 64 + c % 16;
    uint32_t w[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      w[j] = first + 16 * j < a.n ? __float_as_uint(widen(weights[first + 16 * j])) : 0u;
    }
    philox(words, a.seed);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const bool zero = (w[j] & 0x7fffffffu) == 0;
      bad = bad || (!zero && w[j] > 0x7f800000u);
      positive += zero ? 0 : 1;
      if (first + 16 * j < a.n) keys[first + 16 * j] = zero ? 0u : sample_key(w[j], words[j]);
    }
  }
  return bad;
}

// Of kSampleBins counts the bin, from the top, in which the `rank`-th falls; all threads call.
// found[0]: the bin, found[1]: its rank within the bin, found[2]: how many the bin holds.
__device__ __forceinline__ void find_bin(const int32_t* bins, int32_t rank, int32_t* warp_sums,
                                         int32_t* found) {
  constexpr int kOwn = kSampleBins / kSampleThreads;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  const int top = kSampleBins - 1 - thread * kOwn;
  int32_t own = 0;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) own += bins[top - i];
  int32_t before = own;
#pragma unroll
  for (int apart = 1; apart < kWarp; apart *= 2) {
    const int32_t other = __shfl_up_sync(kEveryLane, before, static_cast<unsigned>(apart));
    if (lane >= apart) before += other;
  }
  if (lane == kWarp - 1) warp_sums[warp] = before;
  __syncthreads();
  before -= own;
  for (int i = 0; i < warp; ++i) before += warp_sums[i];
  if (before < rank && rank <= before + own) {
    int bin = top;
    while (before + bins[bin] < rank) before += bins[bin--];
    found[0] = bin;
    found[1] = rank - before;
    found[2] = bins[bin];
  }
  __syncthreads();
}

// Digits of 11, 11 and 10 bits, from the top; ends where the rest of the bits cannot matter.
__device__ __forceinline__ Threshold select(const uint32_t* keys, int32_t n, int32_t k,
                                            int32_t* bins, int32_t* warp_sums, int32_t* found) {
  Threshold t{0, 0, k};
#pragma unroll 1
  for (int shift = 21; shift >= 0; shift -= shift == 21 ? 11 : 10) {
    const uint32_t digit = shift == 0 ? 1023u : 2047u;
    for (int i = threadIdx.x; i < kSampleBins; i += kSampleThreads) bins[i] = 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < n; i += kSampleThreads) {
      if ((keys[i] & t.mask) == t.prefix) atomicAdd(&bins[keys[i] >> shift & digit], 1);
    }
    __syncthreads();
    find_bin(bins, t.ties, warp_sums, found);
    t.prefix |= static_cast<uint32_t>(found[0]) << shift;
    t.mask |= digit << shift;
    t.ties = found[1];
    if (found[1] == found[2]) break;
  }
  return t;
}

// The columns drawn, ascending: warps own consecutive runs of the row. `order` (or null) gets the
// key and the column of each, so that the larger of two comes first.
__device__ __forceinline__ void collect(const uint32_t* keys, int32_t n, const Threshold& t,
                                        int32_t* sums, int32_t* columns, uint64_t* order) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t run = (static_cast<int64_t>(n) + kSampleThreads - 1) / kSampleThreads * kWarp;
  const int64_t begin = warp * run, end = begin + run < n ? begin + run : n;
  const uint32_t lower = (1u << lane) - 1u;
  int32_t above = 0, equal = 0;
  for (int64_t from = begin; from < end; from += kWarp) {
    const bool present = from + lane < end;
    const uint32_t prefix = present ? keys[from + lane] & t.mask : 0u;
    above += __popc(__ballot_sync(kEveryLane, present && prefix > t.prefix));
    equal += __popc(__ballot_sync(kEveryLane, present && prefix == t.prefix));
  }
  if (lane == 0) {
    sums[warp] = above;
    sums[kSampleWarps + warp] = equal;
  }
  __syncthreads();
  int32_t to = 0, ties = 0;
  for (int i = 0; i < warp; ++i) {
    to += sums[i];
    ties += sums[kSampleWarps + i];
  }
  to += ties < t.ties ? ties : t.ties;
  for (int64_t from = begin; from < end; from += kWarp) {
    const bool present = from + lane < end;
    const uint32_t key = present ? keys[from + lane] : 0u, prefix = key & t.mask;
    const bool tied = present && prefix == t.prefix;
    const uint32_t all_tied = __ballot_sync(kEveryLane, tied);
    const bool drawn =
        (present && prefix > t.prefix) || (tied && ties + __popc(all_tied & lower) < t.ties);
    const uint32_t all_drawn = __ballot_sync(kEveryLane, drawn);
    if (drawn) {
      const int32_t place = to + __popc(all_drawn & lower);
      const int32_t column = static_cast<int32_t>(from) + lane;
      columns[place] = column;
      if (order != nullptr) {
        order[place] = static_cast<uint64_t>(key) << 32 | ~static_cast<uint32_t>(column);
      }
    }
    to += __popc(all_drawn);
    ties += __popc(all_tied);
  }
  __syncthreads();
}

// Keys fall: the place of each is the number of larger ones.
__device__ __forceinline__ void arrange(const uint64_t* order, int32_t k, int32_t* columns) {
  for (int i = threadIdx.x; i < k; i += kSampleThreads) {
    const uint64_t own = order[i];
    int place = 0;
    for (int j = 0; j < k; ++j) place += order[j] > own ? 1 : 0;
    columns[place] = static_cast<int32_t>(~static_cast<uint32_t>(own));
  }
  __syncthreads();
}

struct alignas(16) SampleWide {
  uint64_t words[2];
};

// This block's share of the rows that `columns` (or null: zeros) name.
template <class Item>
__device__ __forceinline__ void gather_items(const SampleSource& s, int64_t row, int32_t k,
                                             const int32_t* columns) {
  const Item* const source = static_cast<const Item*>(s.source) + row * s.batch_stride;
  Item* const out = static_cast<Item*>(s.out) + row * k * s.width;
  const int64_t all = k * s.width, parts = gridDim.y, share = (all + parts - 1) / parts;
  const int64_t begin = blockIdx.y * share, end = begin + share < all ? begin + share : all;
  // Threads are neighbours where the source's elements are.
  const bool by_rows = s.col_stride == 1;
#pragma unroll 1
  for (int64_t e = begin + threadIdx.x; e < end; e += kSampleThreads) {
    const int64_t i = by_rows ? e / s.width : e % k, c = by_rows ? e % s.width : e / k;
    Item item{};
    if (columns != nullptr) item = source[columns[i] * s.row_stride + c * s.col_stride];
    out[i * s.width + c] = item;
  }
}

__device__ __forceinline__ void gather(const SampleArguments& a, int64_t row,
                                       const int32_t* columns) {
#pragma unroll 1
  for (int i = 0; i < a.source_count; ++i) {
    const SampleSource& s = a.sources[i];
    if (s.item_size == 1) gather_items<uint8_t>(s, row, a.k, columns);
    if (s.item_size == 2) gather_items<uint16_t>(s, row, a.k, columns);
    if (s.item_size == 4) gather_items<uint32_t>(s, row, a.k, columns);
    if (s.item_size == 8) gather_items<uint64_t>(s, row, a.k, columns);
    if (s.item_size == 16) gather_items<SampleWide>(s, row, a.k, columns);
  }
}

template <class T>
__global__ void __launch_bounds__(kSampleThreads)
    sample_kernel(const __grid_constant__ SampleArguments a) {
  SK_SHARED(int32_t, bins, kSampleBins);
  SK_SHARED(int32_t, sums, 2 * kSampleWarps);
  SK_SHARED(int32_t, found, 3);
  SK_SHARED(int32_t, positive, 1);
  SK_DYNAMIC_SHARED(int32_t, shared);
  const int64_t row = blockIdx.x;
  int32_t* const room =
      a.scratch != nullptr ? a.scratch + row * sample_room(a.n, a.k, a.sorted != 0) : shared;
  uint32_t* const keys = reinterpret_cast<uint32_t*>(room);
  int32_t* const columns = room + a.n;
  uint64_t* const order =
      a.sorted != 0 ? nullptr : reinterpret_cast<uint64_t*>(room + sample_order_at(a.n, a.k));
  const bool first = blockIdx.y == 0;

  if (threadIdx.x == 0) positive[0] = 0;
  __syncthreads();
  int32_t own = 0;
  const T* const weights = static_cast<const T*>(a.weights) + row * a.row_stride;
  const bool bad = make_keys(a, weights, row, keys, own);
  own = __reduce_add_sync(kEveryLane, own);
  if (threadIdx.x % kWarp == 0) atomicAdd(positive, own);
  if (__syncthreads_or(bad ? 1 : 0) != 0) {
    if (first && threadIdx.x == 0) a.info[row] = 1;
    if (first) {
      for (int i = threadIdx.x; i < a.k; i += kSampleThreads) a.idx[row * a.k + i] = -1;
    }
    gather(a, row, nullptr);
    return;
  }
  if (first && threadIdx.x == 0) a.info[row] = positive[0] < a.k ? 2 : 0;
  if (a.k == 0) return;
  const Threshold threshold = select(keys, a.n, a.k, bins, sums, found);
  collect(keys, a.n, threshold, sums, columns, order);
  if (order != nullptr) arrange(order, a.k, columns);
  if (first) {
    for (int i = threadIdx.x; i < a.k; i += kSampleThreads) a.idx[row * a.k + i] = columns[i];
  }
  gather(a, row, columns);
}

}  // namespace subkern
