// What acts on a strip of kWidth rows, [w][re, im][kWidth]: entry and exit, maps, sums over coils.
#pragma once

#include "fft_lanes.h"
#include "sense_kernels.h"
#include "simd_double.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

// A square of kWidth x kWidth floats, rows become columns; strides in floats.
SUBKERN_INLINE void swap_square(const float* from, int64_t from_stride, float* to,
                                int64_t to_stride) {
  Vec v[kWidth];
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) v[i] = load(from + i * from_stride, All{});
  transpose(v);
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) store(to + i * to_stride, v[i], All{});
}

// kWidth points of kWidth lanes: lanes become points. Strides of a point, in floats.
SUBKERN_INLINE void swap_lanes(const float* from, int64_t from_stride, float* to,
                               int64_t to_stride) {
  swap_square(from, from_stride, to, to_stride);
  swap_square(from + kWidth, from_stride, to + kWidth, to_stride);
}

inline void enter_strip(const float* rows, int64_t stride, int64_t count, int64_t floats,
                        float* strip) {
  int64_t i = 0;
  if (count == kWidth) {
    for (; i + kWidth <= floats; i += kWidth) {
      swap_square(rows + i, stride, strip + i * kWidth, kWidth);
    }
  }
  for (; i < floats; ++i) {
    for (int64_t row = 0; row < kWidth; ++row) {
      strip[i * kWidth + row] = row < count ? rows[row * stride + i] : 0.0f;
    }
  }
}

inline void leave_strip(const float* strip, int64_t stride, int64_t count, int64_t floats,
                        float* rows) {
  int64_t i = 0;
  if (count == kWidth) {
    for (; i + kWidth <= floats; i += kWidth) {
      swap_square(strip + i * kWidth, kWidth, rows + i, stride);
    }
  }
  for (; i < floats; ++i) {
    for (int64_t row = 0; row < count; ++row) rows[row * stride + i] = strip[i * kWidth + row];
  }
}

// S v, as a source of a transform.
struct CoilImage {
  const float *v, *maps;

  SUBKERN_INLINE Complex load(int64_t i) const {
    return times(Points{const_cast<float*>(maps)}.load(i), Points{const_cast<float*>(v)}.load(i));
  }
};

// sum += conj(S) x, as a destination.
struct CoilSum {
  const float* maps;
  float* sum;

  SUBKERN_INLINE void store(int64_t i, Complex x) const {
    const Complex s = Points{const_cast<float*>(maps)}.load(i), before = Points{sum}.load(i);
    Points{sum}.store(i, {fma(s.im, x.im, fma(s.re, x.re, before.re)),
                          fnma(s.im, x.re, fma(s.re, x.im, before.im))});
  }
};

inline void clear(float* data, int64_t floats) {
  for (int64_t i = 0; i < floats; i += kWidth) store(data + i, zero(), All{});
}

// q = N p
inline void apply_normal(const SenseLines& lines, const float* p, float* q, float* points) {
  const Fft fft{*lines.plan, lines.tables};
  clear(q, lines.w * kPoint);
  for (int64_t coil = 0; coil < lines.coils; ++coil) {
    const float* const maps = lines.maps + coil * lines.coil_stride;
    filter(fft, CoilImage{p, maps}, SharedWeights{lines.weights}, Points{points}, CoilSum{maps, q});
  }
}

// A sum of products for each lane, in double.
struct RowSums {
  Dvec low = dzero(), high = dzero();

  SUBKERN_INLINE void add_product(Vec a, Vec b) {
    low = fma(low_half(a), low_half(b), low);
    high = fma(high_half(a), high_half(b), high);
  }
  SUBKERN_INLINE void store(double* sums) const {
    dstore(sums, low);
    dstore(sums + kDoubles, high);
  }
};

// q = p + gamma q, or gamma q; <p, q> of each row.
inline RowSums finish_rows(const float* p, int64_t points, bool shifted, float gamma, float* q) {
  RowSums re, im;
  const Vec scale = splat(gamma);
  for (int64_t i = 0; i < points; ++i) {
    const Complex from = Points{const_cast<float*>(p)}.load(i);
    Complex to = Points{q}.load(i);
    to = shifted ? Complex{fma(scale, to.re, from.re), fma(scale, to.im, from.im)}
                 : Complex{mul(scale, to.re), mul(scale, to.im)};
    Points{q}.store(i, to);
    re.add_product(from.re, to.re);
    im.add_product(from.im, to.im);
  }
  return {add(re.low, im.low), add(re.high, im.high)};
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
