// Short transforms of vectors: a point of kWidth transforms at once. exp(-2 pi i ...); the inverse
// is the same with real and imaginary parts exchanged.
#pragma once

#include "simd_mask.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

struct Complex {
  Vec re, im;
};

SUBKERN_INLINE Complex plus(Complex a, Complex b) { return {add(a.re, b.re), add(a.im, b.im)}; }
SUBKERN_INLINE Complex minus(Complex a, Complex b) { return {sub(a.re, b.re), sub(a.im, b.im)}; }
SUBKERN_INLINE Complex swapped(Complex a) { return {a.im, a.re}; }
// a - i b and a + i b
SUBKERN_INLINE Complex minus_i(Complex a, Complex b) { return {add(a.re, b.im), sub(a.im, b.re)}; }
SUBKERN_INLINE Complex plus_i(Complex a, Complex b) { return {sub(a.re, b.im), add(a.im, b.re)}; }
// a b and conj(a) b
SUBKERN_INLINE Complex times(Complex a, Complex b) {
  return {fnma(a.im, b.im, mul(a.re, b.re)), fma(a.re, b.im, mul(a.im, b.re))};
}
SUBKERN_INLINE Complex times_conj(Complex a, Complex b) {
  return {fma(a.im, b.im, mul(a.re, b.re)), fnma(a.im, b.re, mul(a.re, b.im))};
}

SUBKERN_INLINE void dft(Complex (&x)[2]) {
  const Complex a = x[0], b = x[1];
  x[0] = plus(a, b), x[1] = minus(a, b);
}

SUBKERN_INLINE void dft(Complex (&x)[3]) {
  const Vec half = splat(-0.5f), side = splat(0.86602540378443864676f);
  const Complex both = plus(x[1], x[2]), apart = minus(x[1], x[2]);
  const Complex middle = {fma(half, both.re, x[0].re), fma(half, both.im, x[0].im)};
  const Complex turned = {mul(side, apart.re), mul(side, apart.im)};
  x[0] = plus(x[0], both), x[1] = minus_i(middle, turned), x[2] = plus_i(middle, turned);
}

SUBKERN_INLINE void dft(Complex (&x)[4]) {
  const Complex even = plus(x[0], x[2]), even_apart = minus(x[0], x[2]);
  const Complex odd = plus(x[1], x[3]), odd_apart = minus(x[1], x[3]);
  x[0] = plus(even, odd), x[2] = minus(even, odd);
  x[1] = minus_i(even_apart, odd_apart), x[3] = plus_i(even_apart, odd_apart);
}

SUBKERN_INLINE void dft(Complex (&x)[5]) {
  const Vec c1 = splat(0.30901699437494742410f), c2 = splat(-0.80901699437494742410f);
  const Vec s1 = splat(0.95105651629515357212f), s2 = splat(0.58778525229247312917f);
  const Complex near = plus(x[1], x[4]), near_apart = minus(x[1], x[4]);
  const Complex far = plus(x[2], x[3]), far_apart = minus(x[2], x[3]);
  const Complex a = {fma(c1, near.re, fma(c2, far.re, x[0].re)),
                     fma(c1, near.im, fma(c2, far.im, x[0].im))};
  const Complex b = {fma(c2, near.re, fma(c1, far.re, x[0].re)),
                     fma(c2, near.im, fma(c1, far.im, x[0].im))};
  const Complex c = {fma(s1, near_apart.re, mul(s2, far_apart.re)),
                     fma(s1, near_apart.im, mul(s2, far_apart.im))};
  const Complex d = {fnma(s1, far_apart.re, mul(s2, near_apart.re)),
                     fnma(s1, far_apart.im, mul(s2, near_apart.im))};
  x[0] = plus(x[0], plus(near, far));
  x[1] = minus_i(a, c), x[4] = plus_i(a, c), x[2] = minus_i(b, d), x[3] = plus_i(b, d);
}

SUBKERN_INLINE void dft(Complex (&x)[8]) {
  const Vec diagonal = splat(0.70710678118654752440f);
  Complex even[4] = {x[0], x[2], x[4], x[6]}, odd[4] = {x[1], x[3], x[5], x[7]};
  dft(even), dft(odd);
  // (1 - i) / sqrt(2) and -(1 + i) / sqrt(2)
  const Complex one = {mul(diagonal, add(odd[1].re, odd[1].im)),
                       mul(diagonal, sub(odd[1].im, odd[1].re))};
  const Complex three = {mul(diagonal, sub(odd[3].im, odd[3].re)),
                         mul(diagonal, add(odd[3].re, odd[3].im))};
  x[0] = plus(even[0], odd[0]), x[4] = minus(even[0], odd[0]);
  x[1] = plus(even[1], one), x[5] = minus(even[1], one);
  x[2] = minus_i(even[2], odd[2]), x[6] = plus_i(even[2], odd[2]);
  // three is -w^3 odd[3]
  x[3] = {add(even[3].re, three.re), sub(even[3].im, three.im)};
  x[7] = {sub(even[3].re, three.re), add(even[3].im, three.im)};
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
