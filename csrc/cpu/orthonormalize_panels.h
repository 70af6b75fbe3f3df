// A tall matrix as column-major panels of rows: read, its Gram matrix, a triangular factor divided
// out, written. Lanes are rows. Included by orthonormalize.cpp.
#pragma once

#include "simd_double.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int64_t kStep = 2 * kWidth;  // rows of a panel are a multiple
constexpr int64_t kPanelRows = 128;    // 16 columns of doubles and floats fit the first cache
constexpr int kGramRows = 4;           // accumulators of a Gram block: kGramRows x kGramCols
constexpr int kGramCols = kWidth == 16 ? 4 : 2;
constexpr int kSolveCols = 4;  // columns divided together

inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// How m x k is cut; depends on nothing else, so neither do the sums.
struct Panels {
  int64_t m, k, rows, count;
  Panels(int64_t m, int64_t k)
      : m(m), k(k), rows(smaller(kPanelRows, round_up(m, kStep))), count((m + rows - 1) / rows) {}
  int64_t floats() const { return count * k * rows; }
  int64_t padded_k() const { return round_up(k, kGramRows); }
};

// A panel in double for the Gram matrix: padded_k columns of `rows`.
inline void widen_into(double* D, Vec a) {
  dstore(D, low_half(a));
  dstore(D + kDoubles, high_half(a));
}

// Rows [0, rows) of the source into columns W and D; rows past `valid` are zero.
template <class T>
void read_panel(const T* Y, int64_t row_stride, int64_t col_stride, int64_t valid, int64_t rows,
                int64_t k, float* W, double* D) {
  if (row_stride == 1) {
    for (int64_t j = 0; j < k; ++j) {
      for (int64_t i = 0; i < rows; i += kWidth) {
        const int64_t left = valid - i;
        const T* p = Y + j * col_stride + i;
        const Vec a = left >= kWidth ? load(p, All{})
                      : left > 0     ? load(p, First{static_cast<int>(left)})
                                     : zero();
        store(W + j * rows + i, a, All{});
        widen_into(D + j * rows + i, a);
      }
    }
    return;
  }
  T gathered[kWidth * kWidth];
  for (int64_t i = 0; i < rows; i += kWidth) {
    for (int64_t j = 0; j < k; j += kWidth) {
      const int width = static_cast<int>(smaller(kWidth, k - j));
      Vec tile[kWidth];
      for (int r = 0; r < kWidth; ++r) {
        if (i + r >= valid) {
          tile[r] = zero();
          continue;
        }
        const T* p = Y + (i + r) * row_stride + j * col_stride;
        if (col_stride != 1) {
          for (int c = 0; c < width; ++c) gathered[r * kWidth + c] = p[c * col_stride];
          p = gathered + r * kWidth;
        }
        tile[r] = width == kWidth ? load(p, All{}) : load(p, First{width});
      }
      transpose(tile);
      for (int c = 0; c < width; ++c) {
        store(W + (j + c) * rows + i, tile[c], All{});
        widen_into(D + (j + c) * rows + i, tile[c]);
      }
    }
  }
}

// Columns W to `valid` contiguous rows of k.
inline void write_panel(const float* W, int64_t valid, int64_t rows, int64_t k, float* Q) {
  for (int64_t i = 0; i < valid; i += kWidth) {
    for (int64_t j = 0; j < k; j += kWidth) {
      const int width = static_cast<int>(smaller(kWidth, k - j));
      const int height = static_cast<int>(smaller(kWidth, valid - i));
      Vec tile[kWidth];
      for (int c = 0; c < kWidth; ++c) {
        tile[c] = c < width ? load(W + (j + c) * rows + i, All{}) : zero();
      }
      transpose(tile);
      for (int r = 0; r < height; ++r) {
        float* p = Q + (i + r) * k + j;
        width == kWidth ? store(p, tile[r], All{}) : store(p, tile[r], First{width});
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

template <bool kDiagonal>
SUBKERN_INLINE void gram_block(const double* A, const double* B, int64_t rows, int64_t a, int64_t b,
                               const Panels& shape, const GramSums& sums) {
  // On the diagonal only what is on or above it; blocks there are one row or more below.
  Dvec acc[kGramRows][kGramCols];
  double* const partial = sums.partial + (a * shape.padded_k() + b * kGramRows) * kDoubles;
  for (int i = 0; i < kGramRows; ++i) {
    for (int j = 0; j < kGramCols; ++j) {
      acc[i][j] = sums.first ? dzero() : dload(partial + (i * kGramCols + j) * kDoubles);
    }
  }
  for (int64_t r = 0; r < rows; r += kDoubles) {
    Dvec right[kGramCols];
    for (int j = 0; j < kGramCols; ++j) right[j] = dload(B + j * rows + r);
    for (int i = 0; i < kGramRows; ++i) {
      const Dvec left = dload(A + i * rows + r);
      for (int j = 0; j < kGramCols; ++j) {
        if (!kDiagonal || kGramRows != kGramCols || i <= j) {
          acc[i][j] = fma(left, right[j], acc[i][j]);
        }
      }
    }
  }
  for (int i = 0; i < kGramRows; ++i) {
    for (int j = 0; j < kGramCols; ++j) {
      if (!sums.last) {
        dstore(partial + (i * kGramCols + j) * kDoubles, acc[i][j]);
      } else if (b + j < shape.k && a + i <= b + j) {
        sums.G[((a + i) * shape.k + b + j) * kDoubles] = sum(acc[i][j]);
      }
    }
  }
}

// Adds the upper half of D^T D.
inline void gram_panel(const double* D, const Panels& shape, const GramSums& sums) {
  const int64_t rows = shape.rows, padded = shape.padded_k();
  for (int64_t a = 0; a < padded; a += kGramRows) {
    for (int64_t b = a; b < padded; b += kGramCols) {
      if (b < a + kGramRows) {
        gram_block<true>(D + a * rows, D + b * rows, rows, a, b, shape, sums);
      } else {
        gram_block<false>(D + a * rows, D + b * rows, rows, a, b, shape, sums);
      }
    }
  }
}

// A triangular factor in float: R[i * k + j], the inverses of its diagonal (zero for failed
// columns, which become zero), and the scales of the columns that it is divided out of.
struct Divisor {
  const float* R;
  const float* inverse;
  const float* scale;
};

template <int kCols, bool kWiden>
SUBKERN_INLINE void divide_columns(float* W, double* D, int64_t rows, int64_t k, int64_t j,
                                   const Divisor& divisor) {
  Vec acc[kCols][2];
  for (int c = 0; c < kCols; ++c) {
    const Vec scale = splat(divisor.scale[j + c]);
    for (int t = 0; t < 2; ++t) {
      acc[c][t] = mul(load(W + (j + c) * rows + t * kWidth, All{}), scale);
    }
  }
  for (int64_t i = 0; i < j; ++i) {
    const Vec low = load(W + i * rows, All{}), high = load(W + i * rows + kWidth, All{});
    for (int c = 0; c < kCols; ++c) {
      const Vec r = splat(divisor.R[i * k + j + c]);
      acc[c][0] = fnma(low, r, acc[c][0]);
      acc[c][1] = fnma(high, r, acc[c][1]);
    }
  }
  for (int c = 0; c < kCols; ++c) {
    const Vec inverse = splat(divisor.inverse[j + c]);
    for (int t = 0; t < 2; ++t) {
      acc[c][t] = mul(acc[c][t], inverse);
      store(W + (j + c) * rows + t * kWidth, acc[c][t], All{});
      if (kWiden) widen_into(D + (j + c) * rows + t * kWidth, acc[c][t]);
    }
    for (int d = c + 1; d < kCols; ++d) {
      const Vec r = splat(divisor.R[(j + c) * k + j + d]);
      acc[d][0] = fnma(acc[c][0], r, acc[d][0]);
      acc[d][1] = fnma(acc[c][1], r, acc[d][1]);
    }
  }
}

// W <- W diag(scale) R^-1 by substitution, row by row of the panel: backward stable, where a
// product with the inverse is not. D receives the result in double.
template <bool kWiden>
void divide_panel(float* W, double* D, int64_t rows, int64_t k, const Divisor& divisor) {
  for (int64_t i = 0; i < rows; i += kStep) {
    int64_t j = 0;
    for (; j + kSolveCols <= k; j += kSolveCols) {
      divide_columns<kSolveCols, kWiden>(W + i, D + i, rows, k, j, divisor);
    }
    switch (k - j) {
      case 3:
        divide_columns<3, kWiden>(W + i, D + i, rows, k, j, divisor);
        break;
      case 2:
        divide_columns<2, kWiden>(W + i, D + i, rows, k, j, divisor);
        break;
      case 1:
        divide_columns<1, kWiden>(W + i, D + i, rows, k, j, divisor);
        break;
      default:
        break;
    }
  }
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
