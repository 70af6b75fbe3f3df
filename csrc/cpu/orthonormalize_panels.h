// A tall matrix as column-major panels of rows: read, its Gram matrix, a triangular factor divided
// out, written. Lanes are rows. Included by orthonormalize.cpp.
#pragma once

#include "simd_double.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int64_t kStep = 2 * kWidth;  // rows of a panel are a multiple
constexpr int64_t kPanelRows = 128;    // 16 columns of doubles and floats fit the first cache
// Distances of columns in W (floats) and D (doubles): constants, so that addresses cost nothing,
// and odd numbers of cache lines, so that neighbours do not share cache sets.
constexpr int64_t kPitch = kPanelRows + 16;
constexpr int64_t kWidePitch = kPanelRows + 8;
// Of the panels in float of at most 8 columns.
constexpr int64_t kLongRows = 256;
constexpr int64_t kLongPitch = kLongRows + 16;
inline constexpr int64_t pitch_of(const float*) { return kPitch; }
inline constexpr int64_t pitch_of(const double*) { return kWidePitch; }
constexpr int kGramRows = 4;  // accumulators of a Gram block: kGramRows x kGramCols
constexpr int kGramCols = kWidth == 16 ? 4 : 2;
constexpr int kSolveCols = 4;  // columns divided together

inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

inline float scalar(const float* p) { return *p; }
inline float scalar(const bf16* p) {
  const uint32_t bits = static_cast<uint32_t>(p->bits) << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

// How m x k is cut; depends on nothing else, so neither do the sums.
struct Panels {
  int64_t m, k, rows, count;
  Panels(int64_t m, int64_t k, int64_t most = kPanelRows)
      : m(m),
        k(k),
        rows(smaller(most, round_up(m + (m == 0), kStep))),
        count((m + rows - 1) / rows) {}
  int64_t floats() const { return count * padded_k() * kPitch; }
  int64_t padded_k() const { return round_up(k, kGramRows); }
};

// Rows of a column of W (float) or D (double).
inline void put(float* W, Vec a) { store(W, a, All{}); }
inline void put(double* D, Vec a) {
  dstore(D, low_half(a));
  dstore(D + kDoubles, high_half(a));
}

// kWidth rows of up to kWidth entries become columns of W.
template <class T, class Lanes, class To>
SUBKERN_INLINE void turn_tile(const T* rows_of, int64_t row_stride, Lanes lanes, int64_t width,
                              To* W) {
  Vec tile[kWidth];
#pragma GCC unroll 16
  for (int r = 0; r < kWidth; ++r) tile[r] = load(rows_of + r * row_stride, lanes);
  transpose(tile);
  alignas(64) float turned[kWidth * kWidth];
#pragma GCC unroll 16
  for (int c = 0; c < kWidth; ++c) store(turned + c * kWidth, tile[c], All{});
  for (int64_t c = 0; c < width; ++c) {
    put(W + c * pitch_of(W), load(turned + c * kWidth, All{}));
  }
}

// Rows [0, rows) of the source into columns W, of float or double; rows past `valid` are zero.
template <class T, class To>
void read_panel(const T* Y, int64_t row_stride, int64_t col_stride, int64_t valid, int64_t rows,
                int64_t k, To* W) {
  if (row_stride == 1) {
    for (int64_t j = 0; j < k; ++j) {
      for (int64_t i = 0; i < rows; i += kWidth) {
        const int64_t left = valid - i;
        const T* p = Y + j * col_stride + i;
        const Vec a = left >= kWidth ? load(p, All{})
                      : left > 0     ? load(p, First{static_cast<int>(left)})
                                     : zero();
        put(W + j * pitch_of(W) + i, a);
      }
    }
    return;
  }
  for (int64_t i = 0; i < rows; i += kWidth) {
    const int64_t height = valid - i < kWidth ? valid - i : kWidth;
    for (int64_t j = 0; j < k; j += kWidth) {
      const int64_t width = smaller(kWidth, k - j);
      const T* const corner = Y + i * row_stride + j * col_stride;
      To* const to = W + j * pitch_of(W) + i;
      if (col_stride != 1 || height < kWidth) {
        alignas(64) T gathered[kWidth * kWidth] = {};
        for (int64_t r = 0; r < height; ++r) {
          for (int64_t c = 0; c < width; ++c) {
            gathered[r * kWidth + c] = corner[r * row_stride + c * col_stride];
          }
        }
        turn_tile(gathered, kWidth, All{}, width, to);
      } else if (width == kWidth) {
        turn_tile(corner, row_stride, All{}, width, to);
      } else {
        turn_tile(corner, row_stride, First{static_cast<int>(width)}, width, to);
      }
    }
  }
}

// Columns W to `valid` contiguous rows of k.
inline void write_panel(const float* W, int64_t valid, int64_t k, float* Q) {
  for (int64_t i = 0; i < valid; i += kWidth) {
    const int64_t height = smaller(kWidth, valid - i);
    for (int64_t j = 0; j < k; j += kWidth) {
      const int64_t width = smaller(kWidth, k - j);
      alignas(64) float columns[kWidth * kWidth];
      Vec tile[kWidth];
      for (int64_t c = 0; c < kWidth; ++c) {
        store(columns + c * kWidth, c < width ? load(W + (j + c) * kPitch + i, All{}) : zero(),
              All{});
      }
#pragma GCC unroll 16
      for (int c = 0; c < kWidth; ++c) tile[c] = load(columns + c * kWidth, All{});
      transpose(tile);
      float* const to = Q + i * k + j;
      if (height == kWidth && width == kWidth) {
#pragma GCC unroll 16
        for (int r = 0; r < kWidth; ++r) store(to + r * k, tile[r], All{});
      } else {
        const First lanes{static_cast<int>(width)};
#pragma GCC unroll 16
        for (int r = 0; r < kWidth; ++r) {
          if (r < height) store(to + r * k, tile[r], lanes);
        }
      }
    }
  }
}

// Where the sums of a Gram matrix stand between panels, and where they go after the last.
struct GramSums {
  double* partial;  // padded_k x padded_k x kDoubles, unused where there is one panel
  double* G;        // entry (i, j) of this matrix at G[(i * k + j) * kDoubles], i <= j
  bool first, last;
};

// Where the sums of a block stand: first are none, then in `partial`, at last in G.
SUBKERN_INLINE void add_up(Dvec total, double* partial, double* G, const GramSums& sums,
                           bool wanted) {
  if (!sums.first) total = add(total, dload(partial));
  if (!sums.last) {
    dstore(partial, total);
  } else if (wanted) {
    *G = sum(total);
  }
}

SUBKERN_INLINE Dvec get(const double* p) { return dload(p); }
SUBKERN_INLINE Vec get(const float* p) { return load(p, All{}); }
SUBKERN_INLINE void clear(Dvec& a) { a = dzero(); }
SUBKERN_INLINE void clear(Vec& a) { a = zero(); }
SUBKERN_INLINE Dvec widened(Dvec a) { return a; }
SUBKERN_INLINE Dvec widened(Vec a) { return add(low_half(a), high_half(a)); }

// Columns a ... times columns b ...; on the diagonal only what is on or above it.
template <bool kDiagonal, int64_t kStride, class T>
SUBKERN_INLINE void gram_block(const T* W, int64_t a, int64_t b, const Panels& shape,
                               const GramSums& sums) {
  using V = decltype(get(W));
  const T* const A = W + a * kStride;
  const T* const B = W + b * kStride;
  V acc[kGramRows][kGramCols];
#pragma GCC unroll 16
  for (int i = 0; i < kGramRows; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kGramCols; ++j) clear(acc[i][j]);
  }
  for (int64_t r = 0; r < shape.rows; r += static_cast<int64_t>(sizeof(V) / sizeof(T))) {
    V right[kGramCols];
#pragma GCC unroll 16
    for (int j = 0; j < kGramCols; ++j) right[j] = get(B + j * kStride + r);
#pragma GCC unroll 16
    for (int i = 0; i < kGramRows; ++i) {
      const V left = get(A + i * kStride + r);
#pragma GCC unroll 16
      for (int j = 0; j < kGramCols; ++j) {
        if (!kDiagonal || kGramRows != kGramCols || i <= j) {
          acc[i][j] = fma(left, right[j], acc[i][j]);
        }
      }
    }
  }
  double* const partial = sums.partial + (a * shape.padded_k() + b * kGramRows) * kDoubles;
#pragma GCC unroll 16
  for (int i = 0; i < kGramRows; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kGramCols; ++j) {
      add_up(widened(acc[i][j]), partial + (i * kGramCols + j) * kDoubles,
             sums.G + ((a + i) * shape.k + b + j) * kDoubles, sums,
             b + j < shape.k && a + i <= b + j);
    }
  }
}

// Blocks (a, a) and (b, b) at once: one alone has too few sums to hide the latency of its adds.
template <int64_t kStride, class T>
SUBKERN_INLINE void gram_diagonals(const T* W, int64_t a, int64_t b, const Panels& shape,
                                   const GramSums& sums) {
  using V = decltype(get(W));
  constexpr int kSide = kGramRows;
  const int64_t at[2] = {a, b};
  V acc[2][kSide * (kSide + 1) / 2];
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
#pragma GCC unroll 16
    for (int e = 0; e < kSide * (kSide + 1) / 2; ++e) clear(acc[h][e]);
  }
  for (int64_t r = 0; r < shape.rows; r += static_cast<int64_t>(sizeof(V) / sizeof(T))) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      V column[kSide];
#pragma GCC unroll 16
      for (int j = 0; j < kSide; ++j) column[j] = get(W + (at[h] + j) * kStride + r);
      int e = 0;
#pragma GCC unroll 16
      for (int i = 0; i < kSide; ++i) {
#pragma GCC unroll 16
        for (int j = i; j < kSide; ++j, ++e) acc[h][e] = fma(column[i], column[j], acc[h][e]);
      }
    }
  }
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    double* const partial = sums.partial + at[h] * (shape.padded_k() + kSide) * kDoubles;
    int e = 0;
#pragma GCC unroll 16
    for (int i = 0; i < kSide; ++i) {
#pragma GCC unroll 16
      for (int j = i; j < kSide; ++j, ++e) {
        add_up(widened(acc[h][e]), partial + (i * kSide + j) * kDoubles,
               sums.G + ((at[h] + i) * shape.k + at[h] + j) * kDoubles, sums, at[h] + j < shape.k);
      }
    }
  }
}

// Adds the upper half of W^T W. Sums of a panel in float have kPanelRows / kWidth terms per lane.
template <int64_t kStride, class T>
void gram_columns(const T* W, const Panels& shape, const GramSums& sums) {
  const int64_t padded = shape.padded_k();
  int64_t paired = 0;  // columns whose diagonal blocks are done
  if (kGramCols == kGramRows) {
    for (; paired + 2 * kGramRows <= padded; paired += 2 * kGramRows) {
      gram_diagonals<kStride>(W, paired, paired + kGramRows, shape, sums);
    }
  }
  for (int64_t a = 0; a < padded; a += kGramRows) {
    for (int64_t b = a < paired ? a + kGramRows : a; b < padded; b += kGramCols) {
      if (b < a + kGramRows) {
        gram_block<true, kStride>(W, a, b, shape, sums);
      } else {
        gram_block<false, kStride>(W, a, b, shape, sums);
      }
    }
  }
}

template <class T>
void gram_panel(const T* W, const Panels& shape, const GramSums& sums) {
  gram_columns<sizeof(T) == 4 ? kPitch : kWidePitch>(W, shape, sums);
}

// A triangular factor in float: R[i * stride + j], the inverses of its diagonal (zero for failed
// columns, which become zero), and the scales of the columns that it is divided out of.
struct Divisor {
  int64_t stride;  // of rows of R: k
  float* R;
  float* inverse;
  float* scale;
};

template <int kCols>
SUBKERN_INLINE void divide_columns(float* W, int64_t j, const Divisor& divisor) {
  Vec acc[kCols][2];
#pragma GCC unroll 16
  for (int c = 0; c < kCols; ++c) {
    const Vec scale = splat(divisor.scale[j + c]);
#pragma GCC unroll 16
    for (int t = 0; t < 2; ++t) {
      acc[c][t] = mul(load(W + (j + c) * kPitch + t * kWidth, All{}), scale);
    }
  }
  for (int64_t i = 0; i < j; ++i) {
    const Vec low = load(W + i * kPitch, All{}), high = load(W + i * kPitch + kWidth, All{});
#pragma GCC unroll 16
    for (int c = 0; c < kCols; ++c) {
      const Vec r = splat(divisor.R[i * divisor.stride + j + c]);
      acc[c][0] = fnma(low, r, acc[c][0]);
      acc[c][1] = fnma(high, r, acc[c][1]);
    }
  }
#pragma GCC unroll 16
  for (int c = 0; c < kCols; ++c) {
    const Vec inverse = splat(divisor.inverse[j + c]);
#pragma GCC unroll 16
    for (int t = 0; t < 2; ++t) {
      acc[c][t] = mul(acc[c][t], inverse);
      store(W + (j + c) * kPitch + t * kWidth, acc[c][t], All{});
    }
#pragma GCC unroll 16
    for (int d = c + 1; d < kCols; ++d) {
      const Vec r = splat(divisor.R[(j + c) * divisor.stride + j + d]);
      acc[d][0] = fnma(acc[c][0], r, acc[d][0]);
      acc[d][1] = fnma(acc[c][1], r, acc[d][1]);
    }
  }
}

// W <- W diag(scale) R^-1 by substitution, row by row of the panel: backward stable, where a
// product with the inverse is not.
inline void divide_panel(float* W, int64_t rows, int64_t k, const Divisor& divisor) {
  for (int64_t i = 0; i < rows; i += kStep) {
    int64_t j = 0;
    for (; j + kSolveCols <= k; j += kSolveCols) {
      divide_columns<kSolveCols>(W + i, j, divisor);
    }
    switch (k - j) {
      case 3:
        divide_columns<3>(W + i, j, divisor);
        break;
      case 2:
        divide_columns<2>(W + i, j, divisor);
        break;
      case 1:
        divide_columns<1>(W + i, j, divisor);
        break;
      default:
        break;
    }
  }
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
