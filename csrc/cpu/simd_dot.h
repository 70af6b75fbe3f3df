// Sums of products of floats in doubles, beside simd_double.h.
#pragma once

#include "simd_double.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

struct DotLanes {
  Dvec low = dzero(), high = dzero();

  SUBKERN_INLINE void add(Vec u, Vec v) {
    low = fma(low_half(u), low_half(v), low);
    high = fma(high_half(u), high_half(v), high);
  }
  // From memory: widened as they are loaded, without taking vectors apart.
  SUBKERN_INLINE void add(const float* u, const float* v) {
    low = fma(dload(u), dload(v), low);
    high = fma(dload(u + kDoubles), dload(v + kDoubles), high);
  }
};

inline double sum(const DotLanes& even, const DotLanes& odd) {
  return sum(add(even.low, even.high)) + sum(add(odd.low, odd.high));
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
