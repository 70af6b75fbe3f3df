// What a block does with a row of an image: N by a warp for each coil, sums in a fixed order.
#pragma once

#include "fft.cuh"
#include "sense_layout.h"

namespace subkern {

// S v, as a source of a transform.
struct CoilImage {
  const Complex *v, *maps;
  __device__ __forceinline__ Complex load(int i) const { return times(maps[i], v[i]); }
};

// sum += conj(S) x, as a destination: a point always belongs to the same lane.
struct CoilSum {
  const Complex* maps;
  Complex* sum;
  __device__ __forceinline__ void store(int i, Complex x) const {
    const Complex s = maps[i], before = sum[i];
    sum[i] = {fmaf(s.im, x.im, fmaf(s.re, x.re, before.re)),
              fmaf(-s.im, x.re, fmaf(s.re, x.im, before.im))};
  }
};

struct Row {
  const Complex* data;
  __device__ __forceinline__ Complex load(int i) const { return data[i]; }
};
struct RowOut {
  Complex* data;
  __device__ __forceinline__ void store(int i, Complex x) const { data[i] = x; }
};

// A block's share of shared memory, and its place among the rows.
class SenseBlock {
 public:
  __device__ __forceinline__ SenseBlock(const SenseMaps& S, Complex* shared, int images, int staged)
      : S_(S),
        warps_(static_cast<int>(blockDim.x) / kWarp),
        room_(sense_room(S, warps_, images, staged)),
        shared_(shared),
        warp_(static_cast<int>(threadIdx.x) / kWarp),
        lane_(static_cast<int>(threadIdx.x) % kWarp) {
    const float* const tables = S.row_tables;
    float* const to = reinterpret_cast<float*>(shared + room_.tables);
    for (int i = threadIdx.x; i < S.rows.floats; i += static_cast<int>(blockDim.x))
      to[i] = tables[i];
  }

  // The factors of frequencies under a line mask, beside the tables.
  __device__ __forceinline__ void take_weights(int64_t image) {
    const float* const from = S_.weights + image % S_.weight_sets * S_.w;
    float* const to = weights();
    for (int i = threadIdx.x; i < S_.w; i += static_cast<int>(blockDim.x)) to[i] = from[i];
  }

  __device__ __forceinline__ float* weights() const {
    return reinterpret_cast<float*>(shared_ + room_.tables) + S_.rows.floats;
  }
  __device__ __forceinline__ double* buffer() const {
    return reinterpret_cast<double*>(shared_ + room_.buffer);
  }
  __device__ __forceinline__ Complex* image(int which) const {
    return shared_ + room_.image + which * S_.w;
  }
  __device__ __forceinline__ Complex* maps() const { return shared_ + room_.maps; }
  __device__ __forceinline__ Fft fft() const { return {S_.rows, shared_ + room_.tables, lane_}; }
  __device__ __forceinline__ Points points() const {
    return {shared_ + room_.points + warp_ * room_.points_each};
  }
  __device__ __forceinline__ Complex* sum() const { return shared_ + room_.sums + warp_ * S_.w; }
  __device__ __forceinline__ int warp() const { return warp_; }
  __device__ __forceinline__ int warps() const { return warps_; }

  __device__ __forceinline__ void clear_sum() const {
    for (int i = lane_; i < S_.w; i += kWarp) sum()[i] = {0.0f, 0.0f};
    __syncwarp();
  }

  // After a barrier: a point of all warps' sums together.
  __device__ __forceinline__ Complex total(int i) const {
    Complex all = {0.0f, 0.0f};
    for (int warp = 0; warp < warps_; ++warp) {
      all = plus(all, shared_[room_.sums + warp * S_.w + i]);
    }
    return all;
  }

  // The sums of N p, with maps `stride` complex numbers apart; ends with a barrier.
  __device__ __forceinline__ void apply(const Complex* p, const Complex* maps, int64_t stride) {
    clear_sum();
    for (int coil = warp_; coil < S_.coils; coil += warps_) {
      const Complex* const row = maps + coil * stride;
      filter(fft(), CoilImage{p, row}, weights(), points(), CoilSum{row, sum()});
    }
    __syncthreads();
  }

 private:
  const SenseMaps& S_;
  const int warps_;
  const SenseRoom room_;
  Complex* const shared_;
  const int warp_, lane_;
};

// Maps of a row: of all coils, h w apart.
__device__ __forceinline__ const Complex* maps_of(const SenseMaps& S, int64_t image, int64_t row) {
  return S.maps + (image % S.map_sets * S.coils * S.h + row) * S.w;
}

__device__ __forceinline__ double real_dot(Complex a, Complex b) {
  return fma(static_cast<double>(a.re), static_cast<double>(b.re),
             static_cast<double>(a.im) * static_cast<double>(b.im));
}

// v + gamma Nv, or gamma Nv.
__device__ __forceinline__ Complex shifted_sum(bool shifted, float gamma, Complex v, Complex Nv) {
  if (!shifted) return {gamma * Nv.re, gamma * Nv.im};
  return {fmaf(gamma, Nv.re, v.re), fmaf(gamma, Nv.im, v.im)};
}

}  // namespace subkern
