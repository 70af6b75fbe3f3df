// Transforms by a warp, in shared memory and in place: the stages of an FftPlan.
//
// The frequencies come out in the order that the stages leave, and the inverse takes them so. What
// the first stage reads and the last one writes goes through functors, so that products with maps
// cost no pass of their own. Neither direction divides by the length.
#pragma once

#include "fft_layout.h"
#include "prims.cuh"

namespace subkern {

struct alignas(8) Complex {
  float re, im;
};

__device__ __forceinline__ Complex plus(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
__device__ __forceinline__ Complex minus(Complex a, Complex b) {
  return {a.re - b.re, a.im - b.im};
}
__device__ __forceinline__ Complex swapped(Complex a) { return {a.im, a.re}; }
// a - i b and a + i b
__device__ __forceinline__ Complex minus_i(Complex a, Complex b) {
  return {a.re + b.im, a.im - b.re};
}
__device__ __forceinline__ Complex plus_i(Complex a, Complex b) {
  return {a.re - b.im, a.im + b.re};
}
// a b and conj(a) b
__device__ __forceinline__ Complex times(Complex a, Complex b) {
  return {fmaf(-a.im, b.im, a.re * b.re), fmaf(a.re, b.im, a.im * b.re)};
}
__device__ __forceinline__ Complex times_conj(Complex a, Complex b) {
  return {fmaf(a.im, b.im, a.re * b.re), fmaf(-a.im, b.re, a.re * b.im)};
}

__device__ __forceinline__ void dft(Complex (&x)[2]) {
  const Complex a = x[0], b = x[1];
  x[0] = plus(a, b), x[1] = minus(a, b);
}

__device__ __forceinline__ void dft(Complex (&x)[3]) {
  constexpr float kSide = 0.86602540378443864676f;
  const Complex both = plus(x[1], x[2]), apart = minus(x[1], x[2]);
  const Complex middle = {fmaf(-0.5f, both.re, x[0].re), fmaf(-0.5f, both.im, x[0].im)};
  const Complex turned = {kSide * apart.re, kSide * apart.im};
  x[0] = plus(x[0], both), x[1] = minus_i(middle, turned), x[2] = plus_i(middle, turned);
}

__device__ __forceinline__ void dft(Complex (&x)[4]) {
  const Complex even = plus(x[0], x[2]), even_apart = minus(x[0], x[2]);
  const Complex odd = plus(x[1], x[3]), odd_apart = minus(x[1], x[3]);
  x[0] = plus(even, odd), x[2] = minus(even, odd);
  x[1] = minus_i(even_apart, odd_apart), x[3] = plus_i(even_apart, odd_apart);
}

__device__ __forceinline__ void dft(Complex (&x)[5]) {
  constexpr float kC1 = 0.30901699437494742410f, kC2 = -0.80901699437494742410f;
  constexpr float kS1 = 0.95105651629515357212f, kS2 = 0.58778525229247312917f;
  const Complex near = plus(x[1], x[4]), near_apart = minus(x[1], x[4]);
  const Complex far = plus(x[2], x[3]), far_apart = minus(x[2], x[3]);
  const Complex a = {fmaf(kC1, near.re, fmaf(kC2, far.re, x[0].re)),
                     fmaf(kC1, near.im, fmaf(kC2, far.im, x[0].im))};
  const Complex b = {fmaf(kC2, near.re, fmaf(kC1, far.re, x[0].re)),
                     fmaf(kC2, near.im, fmaf(kC1, far.im, x[0].im))};
  const Complex c = {fmaf(kS1, near_apart.re, kS2 * far_apart.re),
                     fmaf(kS1, near_apart.im, kS2 * far_apart.im)};
  const Complex d = {fmaf(-kS1, far_apart.re, kS2 * near_apart.re),
                     fmaf(-kS1, far_apart.im, kS2 * near_apart.im)};
  x[0] = plus(x[0], plus(near, far));
  x[1] = minus_i(a, c), x[4] = plus_i(a, c), x[2] = minus_i(b, d), x[3] = plus_i(b, d);
}

__device__ __forceinline__ void dft(Complex (&x)[8]) {
  constexpr float kDiagonal = 0.70710678118654752440f;
  Complex even[4] = {x[0], x[2], x[4], x[6]}, odd[4] = {x[1], x[3], x[5], x[7]};
  dft(even), dft(odd);
  const Complex one = {kDiagonal * (odd[1].re + odd[1].im), kDiagonal * (odd[1].im - odd[1].re)};
  const Complex three = {kDiagonal * (odd[3].im - odd[3].re), -kDiagonal * (odd[3].re + odd[3].im)};
  x[0] = plus(even[0], odd[0]), x[4] = minus(even[0], odd[0]);
  x[1] = plus(even[1], one), x[5] = minus(even[1], one);
  x[2] = minus_i(even[2], odd[2]), x[6] = plus_i(even[2], odd[2]);
  x[3] = plus(even[3], three), x[7] = minus(even[3], three);
}

// Points in shared memory: one in sixteen is skipped, so that strides of 4 and 8 meet all banks.
struct Points {
  Complex* data;

  __device__ __forceinline__ Complex load(int i) const { return data[i + i / 16]; }
  __device__ __forceinline__ void store(int i, Complex x) const { data[i + i / 16] = x; }
};

// A plan, with its tables where all lanes reach them.
struct Fft {
  const FftPlan& plan;
  const Complex* tables;
  int lane;
};

template <int kRadix, class From, class To>
__device__ __forceinline__ void forward_stage(const Fft& fft, int stage, const From& from,
                                              const To& to) {
  const int length = fft.plan.length[stage], part = length / kRadix;
  const Complex* const table = fft.tables + fft.plan.table[stage] / 2;
  for (int t = fft.lane; t < fft.plan.length[0] / kRadix; t += kWarp) {
    const int block = t / part, j = t - block * part, first = block * length + j;
    Complex x[kRadix];
#pragma unroll
    for (int k = 0; k < kRadix; ++k) x[k] = from.load(first + k * part);
    dft(x);
    to.store(first, x[0]);
#pragma unroll
    for (int k = 1; k < kRadix; ++k) {
      to.store(first + k * part, times(table[j * (kRadix - 1) + k - 1], x[k]));
    }
  }
  __syncwarp();
}

template <int kRadix, class From, class To>
__device__ __forceinline__ void inverse_stage(const Fft& fft, int stage, const From& from,
                                              const To& to) {
  const int length = fft.plan.length[stage], part = length / kRadix;
  const Complex* const table = fft.tables + fft.plan.table[stage] / 2;
  for (int t = fft.lane; t < fft.plan.length[0] / kRadix; t += kWarp) {
    const int block = t / part, j = t - block * part, first = block * length + j;
    Complex x[kRadix];
    x[0] = swapped(from.load(first));
#pragma unroll
    for (int k = 1; k < kRadix; ++k) {
      const Complex factor = table[j * (kRadix - 1) + k - 1];
      x[k] = swapped(times_conj(factor, from.load(first + k * part)));
    }
    dft(x);
#pragma unroll
    for (int k = 0; k < kRadix; ++k) to.store(first + k * part, swapped(x[k]));
  }
  __syncwarp();
}

// The last stage, whose factors are all one, weights, and the last stage back.
template <int kRadix, class From, class To>
__device__ __forceinline__ void middle_stage(const Fft& fft, const From& from, const float* weights,
                                             const To& to) {
  for (int t = fft.lane; t < fft.plan.length[0] / kRadix; t += kWarp) {
    Complex x[kRadix];
#pragma unroll
    for (int k = 0; k < kRadix; ++k) x[k] = from.load(t * kRadix + k);
    dft(x);
#pragma unroll
    for (int k = 0; k < kRadix; ++k) {
      const float w = weights[t * kRadix + k];
      x[k] = {w * x[k].im, w * x[k].re};
    }
    dft(x);
#pragma unroll
    for (int k = 0; k < kRadix; ++k) to.store(t * kRadix + k, swapped(x[k]));
  }
  __syncwarp();
}

template <class From, class To>
__device__ __forceinline__ void forward_pass(const Fft& fft, int stage, const From& from,
                                             const To& to) {
  switch (fft.plan.radix[stage]) {
    case 2:
      return forward_stage<2>(fft, stage, from, to);
    case 3:
      return forward_stage<3>(fft, stage, from, to);
    case 4:
      return forward_stage<4>(fft, stage, from, to);
    case 5:
      return forward_stage<5>(fft, stage, from, to);
    default:
      return forward_stage<8>(fft, stage, from, to);
  }
}

template <class From, class To>
__device__ __forceinline__ void inverse_pass(const Fft& fft, int stage, const From& from,
                                             const To& to) {
  switch (fft.plan.radix[stage]) {
    case 2:
      return inverse_stage<2>(fft, stage, from, to);
    case 3:
      return inverse_stage<3>(fft, stage, from, to);
    case 4:
      return inverse_stage<4>(fft, stage, from, to);
    case 5:
      return inverse_stage<5>(fft, stage, from, to);
    default:
      return inverse_stage<8>(fft, stage, from, to);
  }
}

template <class From, class To>
__device__ __forceinline__ void middle_pass(const Fft& fft, const From& from, const float* weights,
                                            const To& to) {
  switch (fft.plan.radix[fft.plan.stages - 1]) {
    case 2:
      return middle_stage<2>(fft, from, weights, to);
    case 3:
      return middle_stage<3>(fft, from, weights, to);
    case 4:
      return middle_stage<4>(fft, from, weights, to);
    case 5:
      return middle_stage<5>(fft, from, weights, to);
    default:
      return middle_stage<8>(fft, from, weights, to);
  }
}

// to <- F* (weights F from), by way of `points`.
template <class From, class To>
__device__ __forceinline__ void filter(const Fft& fft, const From& from, const float* weights,
                                       Points points, const To& to) {
  const int last = fft.plan.stages - 1;
  if (last == 0) return middle_pass(fft, from, weights, to);
  forward_pass(fft, 0, from, points);
  for (int s = 1; s < last; ++s) forward_pass(fft, s, points, points);
  middle_pass(fft, points, weights, points);
  for (int s = last - 1; s > 0; --s) inverse_pass(fft, s, points, points);
  inverse_pass(fft, 0, points, to);
}

// to <- F from, by way of `points`.
template <class From, class To>
__device__ __forceinline__ void transform(const Fft& fft, const From& from, Points points,
                                          const To& to) {
  const int last = fft.plan.stages - 1;
  if (last == 0) return forward_pass(fft, 0, from, to);
  forward_pass(fft, 0, from, points);
  for (int s = 1; s < last; ++s) forward_pass(fft, s, points, points);
  forward_pass(fft, last, points, to);
}

// to <- F* from, by way of `points`.
template <class From, class To>
__device__ __forceinline__ void transform_back(const Fft& fft, const From& from, Points points,
                                               const To& to) {
  const int last = fft.plan.stages - 1;
  if (last == 0) return inverse_pass(fft, 0, from, to);
  inverse_pass(fft, last, from, points);
  for (int s = last - 1; s > 0; --s) inverse_pass(fft, s, points, points);
  inverse_pass(fft, 0, points, to);
}

}  // namespace subkern
