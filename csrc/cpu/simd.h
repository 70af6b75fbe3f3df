// A thin vector type per instruction set. Everything here lives in an unnamed namespace inside the
// variant's own, so that no code built for one instruction set can be linked into another.
#pragma once

#include <cstdint>

#if !defined(SUBKERN_ISA)
#error "SUBKERN_ISA must name the variant: generic, avx2 or avx512"
#endif

namespace subkern {
namespace SUBKERN_ISA {
namespace {

struct bf16 {
  uint16_t bits;
};

// Which lanes of a vector exist in memory: all, or the first n. Absent lanes load as zero.
struct All {};
struct First {
  int n;
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern

#define SUBKERN_LEVEL_generic 0
#define SUBKERN_LEVEL_avx2 1
#define SUBKERN_LEVEL_avx512 2
#define SUBKERN_PASTE_(a, b) a##b
#define SUBKERN_PASTE(a, b) SUBKERN_PASTE_(a, b)
#define SUBKERN_LEVEL SUBKERN_PASTE(SUBKERN_LEVEL_, SUBKERN_ISA)

#if SUBKERN_LEVEL == SUBKERN_LEVEL_avx512
#include "simd_avx512.h"
#elif SUBKERN_LEVEL == SUBKERN_LEVEL_avx2
#include "simd_avx2.h"
#else
#include "simd_generic.h"
#endif

#define SUBKERN_INLINE inline __attribute__((always_inline))

namespace subkern {
namespace SUBKERN_ISA {
namespace {

// Calls body(i, lanes) for the vectors that cover [0, n). The same body serves the tail, so an
// element's value does not depend on its position.
template <class Body>
SUBKERN_INLINE void for_vectors(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) body(i, All{});
  if (i < n) body(i, First{static_cast<int>(n - i)});
}

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Calls body(pointer of the element type) for an untyped buffer.
template <class Body>
SUBKERN_INLINE void with_type(const void* data, Dtype dtype, const Body& body) {
  if (dtype == kFloat32) {
    body(static_cast<const float*>(data));
  } else {
    body(static_cast<const bf16*>(data));
  }
}

template <class Body>
SUBKERN_INLINE void with_type(void* data, Dtype dtype, const Body& body) {
  if (dtype == kFloat32) {
    body(static_cast<float*>(data));
  } else {
    body(static_cast<bf16*>(data));
  }
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
