// Adam for a list of tensors in two launches: scan (non-finite flags) and apply.
#pragma once

#include "adam_core.cuh"

namespace subkern {

constexpr int kAdamTensors = 64;  // whose addresses fit the 4 KB of kernel arguments
constexpr int kAdamThreads = 256;
constexpr int64_t kAdamChunk = 8192;   // elements of a block of apply
constexpr int64_t kScanChunk = 32768;  // least elements of a block of scan
constexpr int64_t kScanFlags = 1024;   // most flags of a tensor: every block of apply reads them

struct AdamArguments {
  void* W[kAdamTensors];
  const void* G[kAdamTensors];
  float* exp_avg[kAdamTensors];
  float* exp_avg_sq[kAdamTensors];
  float* step[kAdamTensors];
  float* skipped[kAdamTensors];
  int64_t numel[kAdamTensors];
  int32_t first[kAdamTensors + 1];  // block with which a tensor starts; the launch's blocks last
  int32_t count;
  int32_t flag_stride;  // flags of the tensor with most of them
  int32_t* flags;       // flag_stride for each tensor
  int32_t* counters;    // one for each tensor
  AdamScalars scalars;
};
static_assert(sizeof(AdamArguments) <= 4096, "kernel arguments");

__host__ __device__ inline int64_t adam_chunks(int64_t n) {
  return n > 0 ? (n + kAdamChunk - 1) / kAdamChunk : 1;
}
__host__ __device__ inline int64_t scan_chunk(int64_t n) {
  const int64_t even = (n + kScanFlags - 1) / kScanFlags;
  const int64_t whole = (even + kAdamChunk - 1) / kAdamChunk * kAdamChunk;
  return whole > kScanChunk ? whole : kScanChunk;
}
__host__ __device__ inline int64_t scan_chunks(int64_t n) {
  const int64_t chunk = scan_chunk(n);
  return n > 0 ? (n + chunk - 1) / chunk : 1;
}

// Elements of T before a 16-byte boundary.
template <class T>
__device__ __forceinline__ int lead_of(const T* p) {
  return static_cast<int>((16 - reinterpret_cast<uintptr_t>(p) % 16) % 16 / sizeof(T));
}

template <class T>
__global__ void __launch_bounds__(kAdamThreads)
    adam_scan_kernel(const __grid_constant__ AdamArguments a) {
  const int tensor = owner_of(a, static_cast<int32_t>(blockIdx.x));
  const int32_t chunk = static_cast<int32_t>(blockIdx.x) - a.first[tensor];
  if (chunk == 0 && threadIdx.x == 0) a.counters[tensor] = 0;
  if (!a.scalars.check_finite) return;

  const int64_t n = a.numel[tensor], length = scan_chunk(n), begin = chunk * length;
  const int count = static_cast<int>(n - begin < length ? n - begin : length);
  const T* const G = static_cast<const T*>(a.G[tensor]) + begin;
  constexpr int kVector = 16 / sizeof(T);
  const int lead = min(lead_of(G), count), vectors = (count - lead) / kVector;
  const uint4* const packs = reinterpret_cast<const uint4*>(G + lead);
  int found = 0;
  for (int i = threadIdx.x; i < vectors; i += kAdamThreads) {
    const uint4 words = packs[i];
    found |= word_is_nonfinite(words.x, G) | word_is_nonfinite(words.y, G) |
             word_is_nonfinite(words.z, G) | word_is_nonfinite(words.w, G);
  }
  const int body = vectors * kVector;
  for (int i = threadIdx.x; i < count - body; i += kAdamThreads) {
    found |= is_nonfinite(G[i < lead ? i : i + body]);
  }
  found = __syncthreads_or(found);
  if (threadIdx.x == 0) a.flags[static_cast<int64_t>(tensor) * a.flag_stride + chunk] = found;
}

template <class T>
struct AdamElements {
  T* W;
  const T* G;
  float* M;
  float* V;

  // Elements before all four are at 16-byte boundaries, or `count` if they never are.
  __device__ __forceinline__ int lead(int count) const {
    const int elements = lead_of(W);
    const bool together =
        lead_of(G) == elements && lead_of(M + elements) == 0 && lead_of(V + elements) == 0;
    return together && elements < count ? elements : count;
  }

  __device__ __forceinline__ void update(const AdamScalars& s, float eta, float decay,
                                         int64_t i) const {
    float m = M[i], v = V[i];
    const float direction = adam_direction(s, widen(G[i]), m, v);
    M[i] = m;
    V[i] = v;
    narrow(fmaf(-eta, direction, decay * widen(W[i])), W[i]);
  }

  template <int kCount>
  __device__ __forceinline__ void update_pack(const AdamScalars& s, float eta, float decay,
                                              int64_t i) const {
    float w[kCount], g[kCount], m[kCount], v[kCount];
    load_pack(W + i, w);
    load_pack(G + i, g);
    load_pack(M + i, m);
    load_pack(V + i, v);
#pragma unroll
    for (int e = 0; e < kCount; ++e) {
      const float direction = adam_direction(s, g[e], m[e], v[e]);
      w[e] = fmaf(-eta, direction, decay * w[e]);
    }
    store_pack(M + i, m);
    store_pack(V + i, v);
    store_pack(W + i, w);
  }
};

template <class T>
__global__ void __launch_bounds__(kAdamThreads)
    adam_apply_kernel(const __grid_constant__ AdamArguments a) {
  SK_SHARED(StepFactors, factors, 1);
  const int tensor = owner_of(a, static_cast<int32_t>(blockIdx.x));
  const int32_t chunk = static_cast<int32_t>(blockIdx.x) - a.first[tensor];
  const int32_t blocks = a.first[tensor + 1] - a.first[tensor];
  const int64_t n = a.numel[tensor];
  int found = 0;
  if (a.scalars.check_finite) {
    const int32_t* const flags = a.flags + static_cast<int64_t>(tensor) * a.flag_stride;
    const int of_tensor = static_cast<int>(scan_chunks(n));
    for (int i = threadIdx.x; i < of_tensor; i += kAdamThreads) found |= flags[i];
  }
  if (threadIdx.x == 0) factors[0] = step_factors(a.scalars, *a.step[tensor]);
  const bool skip = __syncthreads_or(found) != 0;
  if (!skip) {
    const int64_t begin = chunk * kAdamChunk;
    const int count = static_cast<int>(n - begin < kAdamChunk ? n - begin : kAdamChunk);
    const AdamElements<T> x{static_cast<T*>(a.W[tensor]) + begin,
                            static_cast<const T*>(a.G[tensor]) + begin, a.exp_avg[tensor] + begin,
                            a.exp_avg_sq[tensor] + begin};
    const float eta = static_cast<float>(factors[0].eta),
                decay = static_cast<float>(factors[0].decay);
    constexpr int kVector = 16 / sizeof(T);
    const int lead = x.lead(count), vectors = (count - lead) / kVector;
    for (int i = threadIdx.x; i < vectors; i += kAdamThreads) {
      x.template update_pack<kVector>(a.scalars, eta, decay, lead + i * kVector);
    }
    const int body = vectors * kVector;
    for (int i = threadIdx.x; i < count - body; i += kAdamThreads) {
      x.update(a.scalars, eta, decay, i < lead ? i : i + body);
    }
  }
  // Every block has read the step by the time the last one arrives.
  if (threadIdx.x == 0 && arrives_last(a.counters + tensor, blocks)) {
    float* const count = skip ? a.skipped[tensor] : a.step[tensor];
    *count += 1.0f;
  }
}

}  // namespace subkern
