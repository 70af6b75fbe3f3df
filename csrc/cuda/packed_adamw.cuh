// AdamW on listed entries: a thread steps four of them, whose states lie side by side while weights
// and gradients lie where the indices say.
#pragma once

#include "packed_adamw_layout.h"
#include "prims.cuh"

namespace subkern {

struct PackedFactors {
  float rate;          // lr / (1 - beta1^t), or lr where each entry has its own t
  float inverse_root;  // 1 / sqrt(1 - beta2^t)
  float decay;
};

// 1 - beta^t comes from expm1: for a beta next to one the difference would cancel. `step` is the
// count before this step, or null where each entry has its own.
__device__ __forceinline__ PackedFactors packed_factors(const PackedScalars& s, const float* step) {
  const double lr = s.lr_address != nullptr ? static_cast<double>(*s.lr_address) : s.lr;
  const float decay = static_cast<float>(1.0 - lr * s.weight_decay);
  if (step == nullptr) return {static_cast<float>(lr), 1.0f, decay};
  const double t = static_cast<double>(*step + 1.0f);
  return {static_cast<float>(lr / -expm1(t * s.ln_beta1)),
          static_cast<float>(1.0 / sqrt(-expm1(t * s.ln_beta2))), decay};
}

__device__ __forceinline__ void load_indices(const int64_t* p, int64_t (&at)[kPackedRun]) {
#pragma unroll
  for (int i = 0; i < kPackedRun; i += 2) {
    const uint4 words = *reinterpret_cast<const uint4*>(p + i);
    at[i] = static_cast<int64_t>(static_cast<uint64_t>(words.y) << 32 | words.x);
    at[i + 1] = static_cast<int64_t>(static_cast<uint64_t>(words.w) << 32 | words.z);
  }
}
__device__ __forceinline__ void load_indices(const int32_t* p, int64_t (&at)[kPackedRun]) {
  const uint4 words = *reinterpret_cast<const uint4*>(p);
  at[0] = static_cast<int32_t>(words.x), at[1] = static_cast<int32_t>(words.y);
  at[2] = static_cast<int32_t>(words.z), at[3] = static_cast<int32_t>(words.w);
}

// The first `count` of a run, which is whole where 16-byte accesses may bring it.
template <class T>
__device__ __forceinline__ void load_run(const T* p, int count, bool whole,
                                         float (&x)[kPackedRun]) {
  if (whole) {
    load_pack(p, x);
    return;
  }
#pragma unroll
  for (int e = 0; e < kPackedRun; ++e) x[e] = e < count ? widen(p[e]) : 0.0f;
}
__device__ __forceinline__ void store_run(float* p, int count, bool whole,
                                          const float (&x)[kPackedRun]) {
  if (whole) {
    store_pack(p, x);
    return;
  }
#pragma unroll
  for (int e = 0; e < kPackedRun; ++e) {
    if (e < count) p[e] = x[e];
  }
}

// What a thread needs of a tensor: W and dense gradients from their start, the rest from its run.
template <class T, class Index>
struct PackedRun {
  T* W;
  const T* G;
  const Index* indices;
  float* m;
  float* v;
  float* step;
  int64_t numel;
  int count;
  bool packed;

  // Whether all of the run can be brought by wide accesses.
  __device__ __forceinline__ bool whole(bool own) const {
    uintptr_t places = reinterpret_cast<uintptr_t>(indices) | reinterpret_cast<uintptr_t>(m) |
                       reinterpret_cast<uintptr_t>(v);
    if (own) places |= reinterpret_cast<uintptr_t>(step);
    if (packed) places |= reinterpret_cast<uintptr_t>(G) * (4 / sizeof(T));
    return count == kPackedRun && places % 16 == 0;
  }
};

template <bool kOwn, class T, class Index>
__device__ __forceinline__ void step_run(const PackedRun<T, Index>& r, const PackedScalars& s,
                                         const PackedFactors& f) {
  const bool whole = r.whole(kOwn);
  int64_t at[kPackedRun];
  float w[kPackedRun], g[kPackedRun], m[kPackedRun], v[kPackedRun], t[kPackedRun];
  if (whole) {
    load_indices(r.indices, at);
  } else {
#pragma unroll
    for (int e = 0; e < kPackedRun; ++e) at[e] = e < r.count ? int64_t{r.indices[e]} : -1;
  }
  // Nothing is read or written outside the tensor, whatever the index; its state stays.
  bool inside[kPackedRun];
#pragma unroll
  for (int e = 0; e < kPackedRun; ++e) {
    inside[e] = at[e] >= 0 && at[e] < r.numel;
    w[e] = inside[e] ? widen(r.W[at[e]]) : 0.0f;
  }
  if (r.packed) {
    load_run(r.G, r.count, whole, g);
  } else {
#pragma unroll
    for (int e = 0; e < kPackedRun; ++e) g[e] = inside[e] ? widen(r.G[at[e]]) : 0.0f;
  }
  load_run(r.m, r.count, whole, m);
  load_run(r.v, r.count, whole, v);
  if (kOwn) load_run(r.step, r.count, whole, t);
#pragma unroll
  for (int e = 0; e < kPackedRun; ++e) {
    if (!inside[e]) continue;
    float rate = f.rate, inverse_root = f.inverse_root;
    if (kOwn) {
      t[e] += 1.0f;
      rate /= -expm1f(t[e] * static_cast<float>(s.ln_beta1));
      inverse_root = 1.0f / sqrtf(-expm1f(t[e] * static_cast<float>(s.ln_beta2)));
    }
    m[e] = fmaf(s.beta1, m[e], s.one_minus_beta1 * g[e]);
    v[e] = fmaf(s.beta2, v[e], s.one_minus_beta2 * (g[e] * g[e]));
    const float direction = m[e] / fmaf(sqrtf(v[e]), inverse_root, s.eps);
    narrow(fmaf(-rate, direction, f.decay * w[e]), r.W[at[e]]);
  }
  store_run(r.m, r.count, whole, m);
  store_run(r.v, r.count, whole, v);
  if (kOwn) store_run(r.step, r.count, whole, t);
}

template <bool kWide>
struct PackedIndex {
  using Type = int64_t;
};
template <>
struct PackedIndex<false> {
  using Type = int32_t;
};

template <class T, bool kWide>
__global__ void __launch_bounds__(kPackedThreads)
    packed_adamw_kernel(const __grid_constant__ PackedArguments a) {
  using Index = typename PackedIndex<kWide>::Type;
  SK_SHARED(PackedFactors, factors, 1);
  const int tensor = owner_of(a, static_cast<int32_t>(blockIdx.x));
  const int32_t block = static_cast<int32_t>(blockIdx.x) - a.first[tensor];
  const bool own = a.per_entry[tensor] != 0, packed = a.packed[tensor] != 0;
  if (threadIdx.x == 0) factors[0] = packed_factors(a.scalars, own ? nullptr : a.step[tensor]);
  __syncthreads();
  const int64_t from = block * kPackedEntries + static_cast<int64_t>(threadIdx.x) * kPackedRun;
  const int64_t left = a.listed[tensor] - from;
  if (left > 0) {
    const T* const G = static_cast<const T*>(a.G[tensor]);
    const PackedRun<T, Index> run{static_cast<T*>(a.W[tensor]),
                                  packed ? G + from : G,
                                  static_cast<const Index*>(a.indices[tensor]) + from,
                                  a.exp_avg[tensor] + from,
                                  a.exp_avg_sq[tensor] + from,
                                  own ? a.step[tensor] + from : nullptr,
                                  a.numel[tensor],
                                  left < kPackedRun ? static_cast<int>(left) : kPackedRun,
                                  packed};
    if (own) {
      step_run<true>(run, a.scalars, factors[0]);
    } else {
      step_run<false>(run, a.scalars, factors[0]);
    }
  }
  if (own || threadIdx.x != 0) return;
  // Every block has read the step by the time the last one arrives.
  const int32_t blocks = a.first[tensor + 1] - a.first[tensor];
  if (arrives_last(a.counters + tensor, blocks)) *a.step[tensor] += 1.0f;
}

}  // namespace subkern
