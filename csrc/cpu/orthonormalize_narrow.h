// At most 8 columns: kWidth rows of them are a tile in registers, from the source to the Gram
// matrix, to Q or to Q F. Included by orthonormalize.cpp.
#pragma once

#include "orthonormalize_panels.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int kNarrow = kWidth >= 8 ? 8 : 0;  // the most columns; 0: no such tiles
constexpr int kTileColumns = 8;

using Tile = Vec[kTileColumns];  // one vector per column
// Tiles that are divided together where registers are left: they share the fetches of the divisor.
constexpr int kTwoTiles = kWidth == 16 ? 2 : 1;

#if SUBKERN_LEVEL == SUBKERN_LEVEL_avx512

using Lanes8 = __mmask8;
inline Lanes8 first_of_8(int64_t n) { return static_cast<Lanes8>((1u << n) - 1u); }
inline __m256 load8(const float* p, Lanes8 lanes) { return _mm256_maskz_loadu_ps(lanes, p); }
inline __m256 load8(const bf16* p, Lanes8 lanes) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_maskz_loadu_epi16(lanes, p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

// Rows 2 r and 2 r + 1 in the halves of vector r become columns, and back. In a column even rows
// come first: nothing but sums and stores follows.
SUBKERN_INLINE void turn(Tile& v) {
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
  const __m512i high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  __m512d pairs[8], fours[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm512_castps_pd(_mm512_unpacklo_ps(v[i], v[i + 1]));
    pairs[i + 1] = _mm512_castps_pd(_mm512_unpackhi_ps(v[i], v[i + 1]));
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const int from = i / 4 * 4 + i / 2 % 2;
    fours[i] = i % 2 == 0 ? _mm512_unpacklo_pd(pairs[from], pairs[from + 2])
                          : _mm512_unpackhi_pd(pairs[from], pairs[from + 2]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm512_castpd_ps(_mm512_permutex2var_pd(fours[i], low, fours[4 + i]));
    v[4 + i] = _mm512_castpd_ps(_mm512_permutex2var_pd(fours[i], high, fours[4 + i]));
  }
}

SUBKERN_INLINE void turn_rows(Tile& tile) { turn(tile); }

template <class T>
SUBKERN_INLINE void load_rows(const T* p, int64_t row_stride, int64_t width, Tile& tile) {
  if (width == 8 && row_stride == 8) {
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) tile[r] = load(p + r * kWidth, All{});
  } else {
    const Lanes8 lanes = first_of_8(width);
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      const T* const pair = p + 2 * r * row_stride;
      tile[r] = _mm512_insertf32x8(_mm512_castps256_ps512(load8(pair, lanes)),
                                   load8(pair + row_stride, lanes), 1);
    }
  }
  turn(tile);
}

template <class T>
SUBKERN_INLINE Vec load_column(const T* p) {
  const __m512i order = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  return _mm512_permutexvar_ps(order, load(p, All{}));
}

SUBKERN_INLINE void store_rows(float* Q, int64_t width, int64_t height, bool streams, Tile& tile) {
  turn(tile);
  if (streams) {
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) stream(Q + r * kWidth, tile[r]);
    return;
  }
  if (width == 8 && height >= kWidth) {
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) store(Q + r * kWidth, tile[r], All{});
    return;
  }
  const Lanes8 lanes = first_of_8(width);
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) {
    float* const pair = Q + 2 * r * width;
    if (2 * r < height) _mm256_mask_storeu_ps(pair, lanes, _mm512_castps512_ps256(tile[r]));
    if (2 * r + 1 < height) {
      _mm256_mask_storeu_ps(pair + width, lanes, _mm512_extractf32x8_ps(tile[r], 1));
    }
  }
}

#elif SUBKERN_LEVEL == SUBKERN_LEVEL_avx2

SUBKERN_INLINE void turn_rows(Tile& tile) { transpose(tile); }

template <class T>
SUBKERN_INLINE void load_rows(const T* p, int64_t row_stride, int64_t width, Tile& tile) {
  if (width == kWidth) {
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) tile[r] = load(p + r * row_stride, All{});
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      tile[r] = load(p + r * row_stride, First{static_cast<int>(width)});
    }
  }
  transpose(tile);
}

template <class T>
SUBKERN_INLINE Vec load_column(const T* p) {
  return load(p, All{});
}

SUBKERN_INLINE void store_rows(float* Q, int64_t width, int64_t height, bool, Tile& tile) {
  transpose(tile);
  if (width == kWidth && height == kWidth) {
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) store(Q + r * kWidth, tile[r], All{});
    return;
  }
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) {
    if (r < height) store(Q + r * width, tile[r], First{static_cast<int>(width)});
  }
}

#else

// Compiled, never called: kNarrow is 0.
inline void turn_rows(Tile&) {}
template <class T>
inline void load_rows(const T*, int64_t, int64_t, Tile&) {}
template <class T>
inline Vec load_column(const T*) {
  return zero();
}
inline void store_rows(float*, int64_t, int64_t, bool, Tile&) {}

#endif

// Rows [0, height) of k columns; what is past them is zero.
template <class T>
SUBKERN_INLINE void read_tile(const T* Y, int64_t row_stride, int64_t col_stride, int64_t height,
                              int64_t k, Tile& tile) {
  if (col_stride == 1 && height >= kWidth) {
    load_rows(Y, row_stride, k, tile);
  } else if (row_stride == 1 && height >= kWidth) {
#pragma GCC unroll 8
    for (int c = 0; c < 8; ++c) tile[c] = c < k ? load_column(Y + c * col_stride) : zero();
  } else {
    alignas(64) T gathered[kWidth * 8] = {};
    for (int64_t r = 0; r < height && r < kWidth; ++r) {
      for (int64_t c = 0; c < k; ++c) gathered[r * 8 + c] = Y[r * row_stride + c * col_stride];
    }
    load_rows(gathered, 8, 8, tile);
  }
}

// A Divisor of 8 columns for each lane: numbers of one lane are kDoubles apart. Past k it is zero.
struct TileDivisor {
  float* data;

  static constexpr int64_t kFloats = (8 + 2) * 8 * kDoubles;
  float* entry(int64_t i, int64_t j) const { return data + (i * 8 + j) * kDoubles; }
  float* inverse(int64_t j) const { return entry(8, j); }
  float* scale(int64_t j) const { return entry(9, j); }
  TileDivisor of(int64_t lane) const { return {data + lane}; }
};

// From factors in double of all lanes, as Group's.
inline void set_divisors(const TileDivisor& to, const double* R, const double* inverse,
                         const double* scale, int64_t k) {
  for (int64_t j = 0; j < k; ++j) {
    const Dvec factor = dload(scale + j * kDoubles);
    store_narrow(to.scale(j), factor);
    store_narrow(to.inverse(j), div(dload(inverse + j * kDoubles), factor));
    for (int64_t i = 0; i < j; ++i) {
      store_narrow(to.entry(i, j), mul(dload(R + (i * k + j) * kDoubles), factor));
    }
  }
}

// A number for so many tiles: for one alone the instruction that uses it fetches it as cheaply.
template <int kTiles>
SUBKERN_INLINE Vec splat_for(const float* number) {
  return kTiles > 1 ? held(splat(*number)) : splat(*number);
}

// As divide_panel; not kScaled where all scales are 1.
template <bool kScaled, int kTiles>
SUBKERN_INLINE void divide_tiles(const TileDivisor& divisor, Tile (&tiles)[kTiles]) {
#pragma GCC unroll 8
  for (int c = 0; c < 8 && kScaled; ++c) {
    const Vec scale = splat_for<kTiles>(divisor.scale(c));
    for (Tile& tile : tiles) tile[c] = mul(tile[c], scale);
  }
#pragma GCC unroll 8
  for (int c = 0; c < 8; ++c) {
    const Vec inverse = splat_for<kTiles>(divisor.inverse(c));
    for (Tile& tile : tiles) tile[c] = mul(tile[c], inverse);
#pragma GCC unroll 8
    for (int d = c + 1; d < 8; ++d) {
      const Vec entry = splat_for<kTiles>(divisor.entry(c, d));
      for (Tile& tile : tiles) tile[d] = fnma(tile[c], entry, tile[d]);
    }
  }
}

// R^-1 of all lanes, upper triangular, for R close to the identity. A product with it takes no
// turns of waiting as substitution does, and loses nothing there.
inline void set_inverse(const TileDivisor& to, const double* R, const double* inverse, int64_t k) {
  Dvec column[8];
  for (int64_t j = 0; j < k; ++j) {
    column[j] = dload(inverse + j * kDoubles);
    for (int64_t i = j - 1; i >= 0; --i) {
      Dvec sum = dzero();
      for (int64_t p = i + 1; p <= j; ++p) {
        sum = fma(dload(R + (i * k + p) * kDoubles), column[p], sum);
      }
      column[i] = fnma(sum, dload(inverse + i * kDoubles), dzero());
    }
    for (int64_t i = 0; i <= j; ++i) store_narrow(to.entry(i, j), column[i]);
  }
}

// tile <- tile R^-1.
SUBKERN_INLINE void multiply_inverse(const TileDivisor& inverse, Tile& tile) {
#pragma GCC unroll 8
  for (int d = 7; d >= 0; --d) {
    Vec sum = mul(tile[0], splat(*inverse.entry(0, d)));
#pragma GCC unroll 8
    for (int c = 1; c <= d; ++c) sum = fma(tile[c], splat(*inverse.entry(c, d)), sum);
    tile[d] = sum;
  }
}

#if SUBKERN_LEVEL == SUBKERN_LEVEL_avx512

// Sums of entries (i, j), 64 per lane at i * 8 + j, of all of which i <= j count.
// From what gram_columns left in `partial`, in blocks of 4 x 4.
inline void collect(const double* partial, double* entries) {
  for (int64_t i = 0; i < 8; ++i) {
    const int64_t blocks = i < 4 ? 0 : 32;
    Dvec v[8];
#pragma GCC unroll 8
    for (int64_t j = 0; j < 8; ++j) {
      const bool below = j / 4 < i / 4;
      v[j] =
          below ? dzero() : dload(partial + (blocks + j / 4 * 16 + i % 4 * 4 + j % 4) * kDoubles);
    }
    dstore(entries + i * 8, sums(v));
  }
}

// Sums of all lanes to G.
inline void spread(const double* collected, int64_t k, double* G) {
  for (int64_t i = 0; i < k; ++i) {
    Dvec v[8];
#pragma GCC unroll 8
    for (int l = 0; l < 8; ++l) v[l] = dload(collected + (l * 8 + i) * 8);
    transpose(v);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      if (j >= i && j < k) dstore(G + (i * k + j) * kDoubles, v[j]);
    }
  }
}

constexpr bool kCollects = true;

#else

constexpr bool kCollects = false;
inline void collect(const double*, double*) {}
inline void spread(const double*, int64_t, double*) {}

#endif

// tile <- tile T, row-major 8 x 8.
SUBKERN_INLINE void multiply_tile(const float* T, Tile& tile) {
  Tile out;
#pragma GCC unroll 8
  for (int d = 0; d < 8; ++d) out[d] = mul(tile[0], splat(T[d]));
#pragma GCC unroll 8
  for (int c = 1; c < 8; ++c) {
#pragma GCC unroll 8
    for (int d = 0; d < 8; ++d) out[d] = fma(tile[c], splat(T[c * 8 + d]), out[d]);
  }
#pragma GCC unroll 8
  for (int d = 0; d < 8; ++d) tile[d] = out[d];
}

// T = R^-1 F, 8 x 8; F is k x k, `inverse` as set_inverse leaves it.
inline void multiply_factor(const TileDivisor& inverse, const float* F, int64_t k, float* T) {
  for (int64_t i = 0; i < 8; ++i) {
    float row[8] = {};
    for (int64_t p = i; p < k; ++p) {
      for (int64_t d = 0; d < k; ++d) row[d] += *inverse.entry(i, p) * F[p * k + d];
    }
    for (int64_t d = 0; d < 8; ++d) T[i * 8 + d] = row[d];
  }
}

// The entry of largest magnitude (lowest row) of each of 8 columns, in rows of 8.
class Largest {
 public:
  SUBKERN_INLINE void see(Vec rows) {
    highest_ = larger(highest_, rows);
    lowest_ = smaller(lowest_, rows);
  }

  // 1 or -1 per column, so that these entries become positive.
  void signs(const float* rows, int64_t count, float* found) const {
    float high[kTileColumns + kWidth], low[kTileColumns + kWidth];
    store(high, highest_, All{});
    store(low, lowest_, All{});
    for (int64_t c = 0; c < 8; ++c) {
      float top = high[c], bottom = -low[c];
      for (int64_t other = c + 8; other < kWidth; other += 8) {
        top = high[other] > top ? high[other] : top;
        bottom = -low[other] > bottom ? -low[other] : bottom;
      }
      found[c] = bottom > top ? -1.0f : 1.0f;
      // Equal ones of both signs: the first decides.
      for (int64_t i = 0; top == bottom && i < count; ++i) {
        const float x = rows[i * 8 + c];
        if (x != top && x != -top) continue;
        found[c] = x < 0.0f ? -1.0f : 1.0f;
        break;
      }
    }
  }

 private:
  Vec highest_ = zero(), lowest_ = zero();
};

// Rows of 8 times the signs of their columns, to contiguous rows of `width`.
inline void write_signed(const float* rows, int64_t count, int64_t width, const float* signs,
                         bool streams, float* to) {
  float pattern[kWidth];
  for (int64_t e = 0; e < kWidth; ++e) pattern[e] = signs[e % 8];
  const Vec sign = load(pattern, All{});
  if (width == 8 && streams) {
    for (int64_t e = 0; e < count * 8; e += kWidth)
      stream(to + e, mul(load(rows + e, All{}), sign));
    return;
  }
  int64_t i = 0;
  for (; width == 8 && (i + kWidth / 8) <= count; i += kWidth / 8) {
    store(to + i * 8, mul(load(rows + i * 8, All{}), sign), All{});
  }
  const First lanes{static_cast<int>(width)};
  for (; i < count; ++i) store(to + i * width, mul(load(rows + i * 8, lanes), sign), lanes);
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
