// A band of a Gram matrix: rows of X are packed block by block, tiles of the lower half are summed
// in registers, and the block's sums are added to those before it.
#include "gram_kernels.h"
#include "kernels.h"
#include "simd.h"
#include "simd_double.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int64_t kDepth = 128;                    // rows of a packed block: it stays in cache
constexpr int kRows = SUBKERN_LEVEL == 2 ? 8 : 4;  // of a tile in registers

inline int64_t rounded(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// One interface to the vectors of both precisions.
struct Single {
  using Scalar = float;
  using V = Vec;
  static constexpr int kLanes = kWidth;
  static SUBKERN_INLINE V splat_of(float x) { return splat(x); }
  static SUBKERN_INLINE V get(const float* p) { return load(p, All{}); }
  static SUBKERN_INLINE void put(float* p, V a) { store(p, a, All{}); }
};
struct Double {
  using Scalar = double;
  using V = Dvec;
  static constexpr int kLanes = kDoubles;
  static SUBKERN_INLINE V splat_of(double x) { return dsplat(x); }
  static SUBKERN_INLINE V get(const double* p) { return dload(p); }
  static SUBKERN_INLINE void put(double* p, V a) { dstore(p, a); }
};

// sums[r][c] += sum over d of a[d][r] b[d][c], kRows x (kVectors vectors).
template <class P, int kVectors>
SUBKERN_INLINE void tile(const typename P::Scalar* a, const typename P::Scalar* b, int64_t stride,
                         int64_t depth, typename P::Scalar* sums, int64_t width) {
  typename P::V acc[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) acc[r][v] = P::splat_of(0);
  }
  for (int64_t d = 0; d < depth; ++d, a += stride, b += stride) {
    typename P::V right[kVectors];
    for (int v = 0; v < kVectors; ++v) right[v] = P::get(b + v * P::kLanes);
    for (int r = 0; r < kRows; ++r) {
      const typename P::V left = P::splat_of(a[r]);
      for (int v = 0; v < kVectors; ++v) acc[r][v] = fma(left, right[v], acc[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      typename P::Scalar* at = sums + r * width + v * P::kLanes;
      P::put(at, add(P::get(at), acc[r][v]));
    }
  }
}

// Rows [0, depth) and columns [0, cols) of X as float, then zeros up to `width`, in whole vectors.
template <class T>
void pack(const T* X, int64_t depth_stride, int64_t side_stride, int64_t depth, int64_t cols,
          int64_t width, float* out) {
  if (side_stride == 1) {
    for (int64_t d = 0; d < depth; ++d) {
      const T* row = X + d * depth_stride;
      float* to = out + d * width;
      for_vectors(cols, [&](int64_t j, auto lanes) { store(to + j, load(row + j, lanes), All{}); });
    }
    return;
  }
  for (int64_t j = 0; j < cols; j += kWidth) {
    const int64_t many = smaller(kWidth, cols - j);
    for_vectors(depth, [&](int64_t d, auto lanes) {
      const int64_t tall = smaller(kWidth, depth - d);
      Vec square[kWidth];
      for (int64_t c = 0; c < kWidth; ++c) {
        const T* column = X + (j + c) * side_stride + d * depth_stride;
        if (c >= many) {
          square[c] = zero();
        } else if (depth_stride == 1) {
          square[c] = load(column, lanes);
        } else {
          T few[kWidth] = {};
          for (int64_t e = 0; e < tall; ++e) few[e] = column[e * depth_stride];
          square[c] = load(few, All{});
        }
      }
      transpose(square);
      for (int64_t e = 0; e < tall; ++e) store(out + (d + e) * width + j, square[e], All{});
    });
  }
}

template <class P>
void band(const GramBatch& batch, int64_t index, int64_t from, char* scratch) {
  using S = typename P::Scalar;
  const int64_t side = batch.side, end = smaller(side, from + kGramBand);
  const int64_t width = rounded(end, kWidth), rows = rounded(end - from, kRows);
  float* packed = reinterpret_cast<float*>(scratch);
  S* sums = reinterpret_cast<S*>(packed + kDepth * width);
  S* const doubles = sums + kGramBand * width;
  // Whole vectors of contiguous floats need no copy.
  constexpr bool kWide = sizeof(S) != sizeof(float);
  const bool direct =
      !kWide && batch.dtype == kFloat32 && batch.side_stride == 1 && side % kWidth == 0;
  for (int64_t i = 0; i < rows * width; ++i) sums[i] = 0;
  for (int64_t begin = 0; begin < batch.depth; begin += kDepth) {
    const int64_t depth = smaller(kDepth, batch.depth - begin);
    const int64_t start = index * batch.batch_stride + begin * batch.depth_stride;
    const S* block = reinterpret_cast<const S*>(packed);
    if (direct) {
      block = static_cast<const S*>(batch.X) + start;
    } else {
      with_type(batch.X, batch.dtype, [&](auto* typed) {
        pack(typed + start, batch.depth_stride, batch.side_stride, depth, end, width, packed);
      });
    }
    if (kWide) {
      for (int64_t i = 0; i < depth * width; ++i) doubles[i] = static_cast<S>(packed[i]);
      block = doubles;
    }
    const int64_t stride = direct ? batch.depth_stride : width;
    for (int64_t i = 0; i < rows; i += kRows) {
      // Columns up to the diagonal, in whole vectors.
      const int64_t stop = smaller(width, rounded(from + i + kRows, P::kLanes));
      const S* left = block + from + i;
      int64_t j = 0;
      for (; j + 2 * P::kLanes <= stop; j += 2 * P::kLanes) {
        tile<P, 2>(left, block + j, stride, depth, sums + i * width + j, width);
      }
      if (j < stop) tile<P, 1>(left, block + j, stride, depth, sums + i * width + j, width);
    }
  }
  const int64_t size = side * side;
  for (int64_t i = from; i < end; ++i) {
    const S* row = sums + (i - from) * width;
    if (kWide && batch.wide_out) {
      double* G = static_cast<double*>(batch.G) + index * size;
      for (int64_t j = 0; j <= i; ++j) G[i * side + j] = G[j * side + i] = row[j];
    } else {
      float* G = static_cast<float*>(batch.G) + index * size;
      for (int64_t j = 0; j <= i; ++j) {
        G[i * side + j] = G[j * side + i] = static_cast<float>(row[j]);
      }
    }
  }
}

}  // namespace

int64_t sk_gram_scratch(int64_t side, bool wide) {
  const int64_t width = rounded(side, kWidth);
  return width * (4 * kDepth + (wide ? 8 * (kDepth + kGramBand) : 4 * kGramBand));
}

void sk_gram_band(const GramBatch& batch, int64_t index, int64_t from, void* scratch) {
  if (batch.wide) {
    band<Double>(batch, index, from, static_cast<char*>(scratch));
  } else {
    band<Single>(batch, index, from, static_cast<char*>(scratch));
  }
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
