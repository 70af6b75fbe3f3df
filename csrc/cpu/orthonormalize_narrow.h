// At most 8 columns: kWidth rows of them are a tile in registers, from the source to the Gram
// matrix or to Q. Included by orthonormalize.cpp.
#pragma once

#include "orthonormalize_panels.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int kNarrow = kWidth >= 8 ? 8 : 0;  // the most columns; 0: no such tiles
constexpr int kTileColumns = 8;

using Tile = Vec[kTileColumns];  // one vector per column

#if SUBKERN_LEVEL == SUBKERN_LEVEL_avx512

using Lanes8 = __mmask8;
inline Lanes8 first_of_8(int64_t n) { return static_cast<Lanes8>((1u << n) - 1u); }
inline __m256 load8(const float* p, Lanes8 lanes) { return _mm256_maskz_loadu_ps(lanes, p); }
inline __m256 load8(const bf16* p, Lanes8 lanes) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_maskz_loadu_epi16(lanes, p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

// Rows r and r + 8 in the halves of vector r become columns, and back.
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

template <class T>
SUBKERN_INLINE void load_rows(const T* p, int64_t row_stride, int64_t width, Tile& tile) {
  const Lanes8 lanes = first_of_8(width);
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) {
    tile[r] = _mm512_insertf32x8(_mm512_castps256_ps512(load8(p + r * row_stride, lanes)),
                                 load8(p + (r + 8) * row_stride, lanes), 1);
  }
  turn(tile);
}

SUBKERN_INLINE void store_rows(float* Q, int64_t width, int64_t height, Tile& tile) {
  turn(tile);
  const Lanes8 lanes = first_of_8(width);
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) {
    if (r < height) _mm256_mask_storeu_ps(Q + r * width, lanes, _mm512_castps512_ps256(tile[r]));
  }
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r) {
    if (r + 8 < height) {
      _mm256_mask_storeu_ps(Q + (r + 8) * width, lanes, _mm512_extractf32x8_ps(tile[r], 1));
    }
  }
}

#elif SUBKERN_LEVEL == SUBKERN_LEVEL_avx2

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

SUBKERN_INLINE void store_rows(float* Q, int64_t width, int64_t height, Tile& tile) {
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
template <class T>
inline void load_rows(const T*, int64_t, int64_t, Tile&) {}
inline void store_rows(float*, int64_t, int64_t, Tile&) {}

#endif

// Rows [0, height) of k columns; what is past them is zero.
template <class T>
SUBKERN_INLINE void read_tile(const T* Y, int64_t row_stride, int64_t col_stride, int64_t height,
                              int64_t k, Tile& tile) {
  if (col_stride == 1 && height >= kWidth) {
    load_rows(Y, row_stride, k, tile);
  } else if (row_stride == 1 && height >= kWidth) {
#pragma GCC unroll 8
    for (int c = 0; c < 8; ++c) tile[c] = c < k ? load(Y + c * col_stride, All{}) : zero();
  } else {
    alignas(64) T gathered[kWidth * 8] = {};
    for (int64_t r = 0; r < height && r < kWidth; ++r) {
      for (int64_t c = 0; c < k; ++c) gathered[r * 8 + c] = Y[r * row_stride + c * col_stride];
    }
    load_rows(gathered, 8, 8, tile);
  }
}

// As divide_panel; entries of the divisor past k are zero.
SUBKERN_INLINE void divide_tile(const Divisor& divisor, Tile& tile) {
#pragma GCC unroll 8
  for (int c = 0; c < 8; ++c) tile[c] = mul(tile[c], splat(divisor.scale[c]));
#pragma GCC unroll 8
  for (int c = 0; c < 8; ++c) {
    tile[c] = mul(tile[c], splat(divisor.inverse[c]));
#pragma GCC unroll 8
    for (int d = c + 1; d < 8; ++d) {
      tile[d] = fnma(tile[c], splat(divisor.R[c * 8 + d]), tile[d]);
    }
  }
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
