// Transforms of kWidth signals at once, a lane for each; points lie as [n][re, im][kWidth].
//
// The frequencies come out in the order that the stages leave (fft_frequency of
// csrc/cuda/fft_plan.h), and the inverse takes them so: what only multiplies between the two needs
// no reordering. Neither divides by the length. The first and the last stage read and write through
// functors, so that products with something else cost no pass of their own.
#pragma once

#include "../cuda/fft_layout.h"
#include "fft_butterflies.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int kMostRadix = SUBKERN_LEVEL == SUBKERN_LEVEL_avx512 ? 8 : 4;  // 16 registers hold 4
constexpr int kPoint = 2 * kWidth;                                         // floats of a point

// Points in memory, as source and as destination.
struct Points {
  float* data;

  SUBKERN_INLINE Complex load(int64_t i) const {
    const float* const p = data + i * kPoint;
    return {subkern::SUBKERN_ISA::load(p, All{}), subkern::SUBKERN_ISA::load(p + kWidth, All{})};
  }
  SUBKERN_INLINE void store(int64_t i, Complex x) const {
    float* const p = data + i * kPoint;
    subkern::SUBKERN_ISA::store(p, x.re, All{});
    subkern::SUBKERN_ISA::store(p + kWidth, x.im, All{});
  }
};

// One factor for all lanes, or one for each.
struct LaneWeights {
  const float* data;
  SUBKERN_INLINE Vec at(int64_t i) const { return load(data + i * kWidth, All{}); }
};
struct SharedWeights {
  const float* data;
  SUBKERN_INLINE Vec at(int64_t i) const { return splat(data[i]); }
};

struct Fft {
  FftPlan plan;
  const float* tables;
};

template <int kRadix, class From, class To>
SUBKERN_INLINE void forward_stage(int64_t n, int64_t length, const float* table, const From& from,
                                  const To& to) {
  const int64_t part = length / kRadix;
  for (int64_t block = 0; block < n; block += length) {
    const float* w = table;
    for (int64_t j = 0; j < part; ++j, w += 2 * (kRadix - 1)) {
      Complex x[kRadix];
#pragma GCC unroll 8
      for (int k = 0; k < kRadix; ++k) x[k] = from.load(block + j + k * part);
      dft(x);
      to.store(block + j, x[0]);
#pragma GCC unroll 8
      for (int k = 1; k < kRadix; ++k) {
        const Complex factor = {splat(w[2 * k - 2]), splat(w[2 * k - 1])};
        to.store(block + j + k * part, times(factor, x[k]));
      }
    }
  }
}

template <int kRadix, class From, class To>
SUBKERN_INLINE void inverse_stage(int64_t n, int64_t length, const float* table, const From& from,
                                  const To& to) {
  const int64_t part = length / kRadix;
  for (int64_t block = 0; block < n; block += length) {
    const float* w = table;
    for (int64_t j = 0; j < part; ++j, w += 2 * (kRadix - 1)) {
      Complex x[kRadix];
      x[0] = swapped(from.load(block + j));
#pragma GCC unroll 8
      for (int k = 1; k < kRadix; ++k) {
        const Complex factor = {splat(w[2 * k - 2]), splat(w[2 * k - 1])};
        x[k] = swapped(times_conj(factor, from.load(block + j + k * part)));
      }
      dft(x);
#pragma GCC unroll 8
      for (int k = 0; k < kRadix; ++k) to.store(block + j + k * part, swapped(x[k]));
    }
  }
}

// The last stage, whose factors are all one, weights, and the last stage back.
template <int kRadix, class From, class Weights, class To>
SUBKERN_INLINE void middle_stage(int64_t n, const From& from, const Weights& weights,
                                 const To& to) {
  for (int64_t block = 0; block < n; block += kRadix) {
    Complex x[kRadix];
#pragma GCC unroll 8
    for (int k = 0; k < kRadix; ++k) x[k] = from.load(block + k);
    dft(x);
#pragma GCC unroll 8
    for (int k = 0; k < kRadix; ++k) {
      const Vec w = weights.at(block + k);
      x[k] = {mul(w, x[k].im), mul(w, x[k].re)};
    }
    dft(x);
#pragma GCC unroll 8
    for (int k = 0; k < kRadix; ++k) to.store(block + k, swapped(x[k]));
  }
}

// Calls body(integral constant) for a radix of a plan.
template <int kRadix>
struct Radix {
  static constexpr int kValue = kRadix;
};
template <class Body>
SUBKERN_INLINE void with_radix(int radix, const Body& body) {
  switch (radix) {
    case 2:
      return body(Radix<2>{});
    case 3:
      return body(Radix<3>{});
    case 4:
      return body(Radix<4>{});
    case 5:
      return body(Radix<5>{});
    default:
      return body(Radix<kMostRadix>{});
  }
}

template <class From, class To>
inline void forward_pass(const Fft& fft, int stage, const From& from, const To& to) {
  with_radix(fft.plan.radix[stage], [&](auto radix) {
    forward_stage<decltype(radix)::kValue>(fft.plan.length[0], fft.plan.length[stage],
                                           fft.tables + fft.plan.table[stage], from, to);
  });
}

template <class From, class To>
inline void inverse_pass(const Fft& fft, int stage, const From& from, const To& to) {
  with_radix(fft.plan.radix[stage], [&](auto radix) {
    inverse_stage<decltype(radix)::kValue>(fft.plan.length[0], fft.plan.length[stage],
                                           fft.tables + fft.plan.table[stage], from, to);
  });
}

template <class From, class Weights, class To>
inline void middle_pass(const Fft& fft, const From& from, const Weights& weights, const To& to) {
  with_radix(fft.plan.radix[fft.plan.stages - 1], [&](auto radix) {
    middle_stage<decltype(radix)::kValue>(fft.plan.length[0], from, weights, to);
  });
}

// to <- F* (weights F from), by way of `points`.
template <class From, class Weights, class To>
void filter(const Fft& fft, const From& from, const Weights& weights, Points points, const To& to) {
  const int last = fft.plan.stages - 1;
  if (last == 0) return middle_pass(fft, from, weights, to);
  forward_pass(fft, 0, from, points);
  for (int s = 1; s < last; ++s) forward_pass(fft, s, points, points);
  middle_pass(fft, points, weights, points);
  for (int s = last - 1; s > 0; --s) inverse_pass(fft, s, points, points);
  inverse_pass(fft, 0, points, to);
}

// points <- F from.
template <class From>
void transform(const Fft& fft, const From& from, Points points) {
  forward_pass(fft, 0, from, points);
  for (int s = 1; s < fft.plan.stages; ++s) forward_pass(fft, s, points, points);
}

// to <- F* points; what is in `points` is lost.
template <class To>
void transform_back(const Fft& fft, Points points, const To& to) {
  for (int s = fft.plan.stages - 1; s > 0; --s) inverse_pass(fft, s, points, points);
  inverse_pass(fft, 0, points, to);
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
