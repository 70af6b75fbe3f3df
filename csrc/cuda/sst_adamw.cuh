// A block steps one row: Adam, the norm, and the row into its place in the table, with every value
// read from and written to device memory once.
#pragma once

#include "prims.cuh"
#include "sst_adamw_layout.h"

namespace subkern {

struct SstFactors {
  float correct1, correct2;  // 1 / (1 - beta^t)
  float eta, decay;
};

// `step` is the count before this step. 1 - beta^t comes from expm1: for a beta next to one the
// difference would cancel.
__device__ __forceinline__ SstFactors sst_factors(const SstScalars& s, float step, bool values) {
  const double t = static_cast<double>(step + 1.0f);
  const double lr = s.lr_address != nullptr ? static_cast<double>(*s.lr_address) : s.lr;
  const double ramp = t < s.warmup ? t / s.warmup : 1.0;
  const double eta = lr * (values ? s.value_scale : s.vector_scale * ramp);
  return {static_cast<float>(-1.0 / expm1(t * s.ln_beta1)),
          static_cast<float>(-1.0 / expm1(t * s.ln_beta2)), static_cast<float>(eta),
          static_cast<float>(1.0 - eta * s.weight_decay)};
}

template <class T>
struct SstRow {
  T* x;
  const T* g;
  float* m;
  float* v;
  T* home;  // null for values, and where an index is outside its table
  int n;
};

template <class T>
__device__ __forceinline__ SstRow<T> row_of(const SstArguments& a, int entry, int64_t row) {
  const int64_t n = a.length[entry];
  T* home = nullptr;
  if (a.table[entry] != nullptr) {
    const int64_t place = a.sampled[entry][row];
    // Nothing is written outside the table, whatever the index.
    if (place >= 0 && place < a.table_rows[entry]) {
      home = static_cast<T*>(a.table[entry]) + place * n;
    }
  }
  return {static_cast<T*>(a.X[entry]) + row * n,
          static_cast<const T*>(a.G[entry]) + row * n,
          a.exp_avg[entry] + row * n,
          a.exp_avg_sq[entry] + row * n,
          home,
          static_cast<int>(n)};
}

template <class T>
__device__ __forceinline__ void load_some(const T* p, float (&x)[1]) {
  x[0] = widen(*p);
}
template <class T, int kCount>
__device__ __forceinline__ void load_some(const T* p, float (&x)[kCount]) {
  load_pack(p, x);
}
template <class T>
__device__ __forceinline__ void store_some(T* p, const float (&x)[1]) {
  narrow(x[0], *p);
}
template <class T, int kCount>
__device__ __forceinline__ void store_some(T* p, const float (&x)[kCount]) {
  store_pack(p, x);
}

// One row by elements in packs of kCount, which divides its length and its alignment. With kWaits
// `room` holds the row between its three passes; else the second and third compute it again.
template <class T, int kCount, bool kWaits>
class SstStep {
 public:
  __device__ __forceinline__ SstStep(const SstRow<T>& row, const SstScalars& s, float* room)
      : r_(row), s_(s), room_(room) {}

  // Whether the gradient has an infinity or a NaN; brings it into `room`.
  __device__ __forceinline__ bool read_gradient() const {
    int found = 0;
    for (int i = start(); i < r_.n; i += kStride) {
      float g[kCount];
      load_some(r_.g + i, g);
#pragma unroll
      for (int e = 0; e < kCount; ++e) found |= is_nonfinite(g[e]);
      if (kWaits) store_some(room_ + i, g);
    }
    return found != 0;
  }

  // S <- max(S (1 - eta wd) - eta N, 0), which keeps a NaN.
  __device__ __forceinline__ void values(const SstFactors& f) const {
    for (int i = start(); i < r_.n; i += kStride) {
      float x[kCount], step[kCount];
      direction(f, i, step);
      load_some(r_.x + i, x);
#pragma unroll
      for (int e = 0; e < kCount; ++e) {
        const float moved = fmaf(-f.eta, step[e], f.decay * x[e]);
        x[e] = moved < 0.0f ? 0.0f : moved;
      }
      store_some(r_.x + i, x);
    }
  }

  // Sum of the squares of y = x - eta N over this thread's elements.
  __device__ __forceinline__ double moved(const SstFactors& f) const {
    float squares = 0.0f;
    for (int i = start(); i < r_.n; i += kStride) {
      float x[kCount], step[kCount];
      direction(f, i, step);
      load_some(r_.x + i, x);
#pragma unroll
      for (int e = 0; e < kCount; ++e) {
        x[e] = fmaf(-f.eta, step[e], x[e]);
        squares = fmaf(x[e], x[e], squares);
      }
      if (kWaits) store_some(room_ + i, x);
    }
    return static_cast<double>(squares);
  }

  // x <- y / ||y||, there and in the table; y = 0 keeps the vector.
  __device__ __forceinline__ void normalize(const SstFactors& f, float squares) const {
    const float inverse = 1.0f / sqrtf(squares);
    for (int i = start(); i < r_.n; i += kStride) {
      float x[kCount];
      if (!kWaits || squares == 0.0f) load_some(r_.x + i, x);
      if (squares != 0.0f) {
        if (kWaits) {
          load_some(room_ + i, x);
        } else {
          again(f, i, x);
        }
#pragma unroll
        for (int e = 0; e < kCount; ++e) x[e] *= inverse;
        store_some(r_.x + i, x);
      }
      if (r_.home != nullptr) store_some(r_.home + i, x);
    }
  }

 private:
  static constexpr int kStride = kSstThreads * kCount;

  __device__ __forceinline__ static int start() { return static_cast<int>(threadIdx.x) * kCount; }

  // N; updates the moments in memory.
  __device__ __forceinline__ void direction(const SstFactors& f, int i,
                                            float (&step)[kCount]) const {
    float g[kCount], m[kCount], v[kCount];
    if (kWaits) {
      load_some(room_ + i, g);
    } else {
      load_some(r_.g + i, g);
    }
    load_some(r_.m + i, m);
    load_some(r_.v + i, v);
#pragma unroll
    for (int e = 0; e < kCount; ++e) {
      m[e] = fmaf(s_.beta1, m[e], s_.one_minus_beta1 * g[e]);
      v[e] = fmaf(s_.beta2, v[e], s_.one_minus_beta2 * (g[e] * g[e]));
      step[e] = of(f, m[e], v[e]);
    }
    store_some(r_.m + i, m);
    store_some(r_.v + i, v);
  }

  // y of the moments that this thread has stored.
  __device__ __forceinline__ void again(const SstFactors& f, int i, float (&x)[kCount]) const {
    float m[kCount], v[kCount];
    load_some(r_.m + i, m);
    load_some(r_.v + i, v);
#pragma unroll
    for (int e = 0; e < kCount; ++e) x[e] = fmaf(-f.eta, of(f, m[e], v[e]), x[e]);
  }

  __device__ __forceinline__ float of(const SstFactors& f, float m, float v) const {
    return m * f.correct1 / (sqrtf(v * f.correct2) + s_.eps);
  }

  const SstRow<T>& r_;
  const SstScalars& s_;
  float* room_;
};

// True if the row was refused.
template <class T, int kCount, bool kWaits>
__device__ __forceinline__ bool step_row(const SstRow<T>& row, const SstArguments& a, bool values,
                                         const SstFactors* factors, float* room, double* sums) {
  const SstStep<T, kCount, kWaits> step(row, a.scalars, room);
  const bool bad = step.read_gradient();
  // Also the barrier after which every thread sees `factors`.
  if (__syncthreads_or(bad && a.scalars.check_finite ? 1 : 0) != 0) return true;
  const SstFactors f = factors[0];
  if (values) {
    step.values(f);
  } else {
    const double squares = block_sum(step.moved(f), sums);
    step.normalize(f, static_cast<float>(squares));
  }
  return false;
}

template <class T, bool kWaits>
__global__ void __launch_bounds__(kSstThreads)
    sst_adamw_kernel(const __grid_constant__ SstArguments a) {
  SK_SHARED(SstFactors, factors, 1);
  SK_SHARED(double, sums, kSstThreads);
  SK_DYNAMIC_SHARED(float, room);
  const int32_t block = static_cast<int32_t>(blockIdx.x);
  const int entry = owner_of(a, block);
  const bool values = a.table[entry] == nullptr;
  const SstRow<T> row = row_of<T>(a, entry, block - a.first[entry]);
  if (threadIdx.x == 0) factors[0] = sst_factors(a.scalars, *a.step[entry], values);

  constexpr int kPack = 16 / sizeof(T);
  const uintptr_t places = reinterpret_cast<uintptr_t>(row.x) | reinterpret_cast<uintptr_t>(row.g) |
                           reinterpret_cast<uintptr_t>(row.m) | reinterpret_cast<uintptr_t>(row.v) |
                           reinterpret_cast<uintptr_t>(row.home);
  const bool refused = places % 16 == 0 && row.n % kPack == 0
                           ? step_row<T, kPack, kWaits>(row, a, values, factors, room, sums)
                           : step_row<T, 1, kWaits>(row, a, values, factors, room, sums);
  if (threadIdx.x != 0) return;
  if (refused) atomicAdd(a.skipped[entry], 1.0f);
  // Every block has read the step by the time the last one arrives.
  const int32_t blocks = a.first[entry + 1] - a.first[entry];
  if (arrives_last(a.counters + entry, blocks)) *a.step[entry] += 1.0f;
}

}  // namespace subkern
