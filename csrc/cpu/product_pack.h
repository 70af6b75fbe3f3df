// Packing for product.cpp: strips of kPackRows or kPackCols indices, their values side by side for
// each term of the sum, zeros where there is no index. Included by product.cpp only.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int64_t kPackRows = kTileRows;
constexpr int64_t kPackCols = 2 * kWidth;
// Sums of squares are kept short in fp32: this many terms per chain, then they add in double.
constexpr int64_t kNormChain = 32;

// Up to kWidth indices of a strip: values of `terms` terms, `lanes` of them present.
template <class T, class Put>
SUBKERN_INLINE void read_lanes(const T* x, const Factor& f, int64_t lanes, int64_t terms,
                               const Put& put) {
  if (f.stride == 1) {
    if (lanes == kWidth) {
      for (int64_t p = 0; p < terms; ++p) put(p, load(x + p * f.sum_stride, All{}));
    } else {
      const First some{static_cast<int>(lanes)};
      for (int64_t p = 0; p < terms; ++p) put(p, load(x + p * f.sum_stride, some));
    }
  } else if (f.sum_stride == 1) {
    Vec square[kWidth];
    int64_t p = 0;
    for (; p + kWidth <= terms; p += kWidth) {
      for (int i = 0; i < kWidth; ++i) {
        square[i] = i < lanes ? load(x + i * f.stride + p, All{}) : zero();
      }
      transpose(square);
      for (int i = 0; i < kWidth; ++i) put(p + i, square[i]);
    }
    const First rest{static_cast<int>(terms - p)};
    for (int i = 0; rest.n > 0 && i < kWidth; ++i) {
      square[i] = i < lanes ? load(x + i * f.stride + p, rest) : zero();
    }
    if (rest.n > 0) transpose(square);
    for (int i = 0; i < rest.n; ++i) put(p + i, square[i]);
  } else {
    for (int64_t p = 0; p < terms; ++p) {
      float gathered[kWidth] = {};
      for (int64_t i = 0; i < lanes; ++i) {
        const Vec one = load(x + i * f.stride + p * f.sum_stride, First{1});
        store(gathered + i, one, First{1});
      }
      put(p, load(gathered, All{}));
    }
  }
}

// `count` indices of the factor at x; norms[a] grows by the sum of squares of index a.
template <int64_t kStrip, class T>
void pack(const T* x, const Factor& f, int64_t count, int64_t depth, float* packed, double* norms) {
  for (int64_t begin = 0; begin < depth; begin += kNormChain) {
    const int64_t terms = smaller(kNormChain, depth - begin);
    for (int64_t a = 0; a < count; a += kStrip) {
      for (int64_t v = 0; v < kStrip; v += kWidth) {
        float* target = packed + a * depth + begin * kStrip + v;
        Vec squares = zero();
        const auto put = [&](int64_t p, Vec values) {
          if (v + kWidth <= kStrip) {
            store(target + p * kStrip, values, All{});
          } else {
            store(target + p * kStrip, values, First{static_cast<int>(kStrip - v)});
          }
          squares = fma(values, values, squares);
        };
        const int64_t lanes = smaller(smaller(kStrip - v, kWidth), count - a - v);
        if (lanes <= 0) {
          for (int64_t p = 0; p < terms; ++p) put(p, zero());
          continue;
        }
        read_lanes(x + (a + v) * f.stride + begin * f.sum_stride, f, lanes, terms, put);
        if (norms != nullptr) {
          float chain[kWidth];
          store(chain, squares, All{});
          for (int64_t i = 0; i < lanes; ++i) norms[a + v + i] += chain[i];
        }
      }
    }
  }
}

// Indices [from, from + count) and terms [begin, begin + depth) of the factor.
inline void pack_factor(const Factor& f, bool rows, int64_t from, int64_t count, int64_t begin,
                        int64_t depth, float* packed, double* norms) {
  with_type(f.data, f.dtype, [&](auto* data) {
    const auto* x = data + from * f.stride + begin * f.sum_stride;
    if (rows) {
      pack<kPackRows>(x, f, count, depth, packed, norms);
    } else {
      pack<kPackCols>(x, f, count, depth, packed, norms);
    }
  });
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
