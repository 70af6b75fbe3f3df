// Matrices side by side, one per lane: reading, turning columns, orthonormalizing, writing.
#pragma once

#include "jacobi_core.h"
#include "subkern/types.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int64_t kLanesLargest = 32;  // columns of matrices that are worked on side by side

template <int kValue>
struct Count {
  static constexpr int value = kValue;
};

// `count` matrices of rows x cols elements of a batch in memory.
struct Source {
  const void* data;
  Dtype dtype;
  int64_t matrix_stride, row_stride, col_stride;
};

// Columns of `height` vectors each, one after the other.
struct Columns {
  float* data;
  int64_t height;

  float* operator[](int64_t j) const { return data + j * height * kWidth; }
  Columns below(int64_t rows) const { return {data + rows * kWidth, height}; }
};

inline Vec at(const float* column, int64_t i) { return load(column + i * kWidth, All{}); }
inline void put(float* column, int64_t i, Vec x) { store(column + i * kWidth, x, All{}); }

// Entry places[l] of each lane l.
inline void put_at(float* column, Vec places, Vec x) {
#if SUBKERN_LEVEL == SUBKERN_LEVEL_avx512
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i row = _mm512_slli_epi32(_mm512_cvttps_epi32(places), 4);
  _mm512_i32scatter_ps(column, _mm512_add_epi32(row, lane), x, sizeof(float));
#else
  float rows[kWidth], entries[kWidth];
  store(rows, places, All{});
  store(entries, x, All{});
  for (int64_t l = 0; l < kWidth; ++l) {
    column[static_cast<int64_t>(rows[l]) * kWidth + l] = entries[l];
  }
#endif
}

// Calls read(flat position, vector over lanes) for matrices whose elements lie in one block.
template <class T, class Read>
SUBKERN_INLINE void read_flat(const T* data, int64_t stride, int64_t count, int64_t elements,
                              const Read& read) {
  for (int64_t e = 0; e < elements; e += kWidth) {
    const int64_t here = smaller(kWidth, elements - e);
    Vec square[kWidth];
    for (int64_t l = 0; l < kWidth; ++l) {
      if (l >= count) {
        square[l] = zero();
      } else if (here == kWidth) {
        square[l] = load(data + l * stride + e, All{});
      } else {
        square[l] = load(data + l * stride + e, First{static_cast<int>(here)});
      }
    }
    transpose(square);
    for (int64_t i = 0; i < here; ++i) read(e + i, square[i]);
  }
}

// The reverse: elements of `count` matrices, contiguous and `elements` apart.
template <class Get>
SUBKERN_INLINE void write_flat(float* data, int64_t count, int64_t elements, const Get& get) {
  for (int64_t e = 0; e < elements; e += kWidth) {
    const int64_t here = smaller(kWidth, elements - e);
    Vec square[kWidth];
    for (int64_t i = 0; i < kWidth; ++i) square[i] = i < here ? get(e + i) : zero();
    transpose(square);
    for (int64_t l = 0; l < count; ++l) {
      if (here == kWidth) {
        store(data + l * elements + e, square[l], All{});
      } else {
        store(data + l * elements + e, square[l], First{static_cast<int>(here)});
      }
    }
  }
}

// Walks through the positions of a matrix in the order of memory, major index outside.
struct Walk {
  int64_t minor_size, major = 0, minor = 0;

  SUBKERN_INLINE void step() {
    if (++minor == minor_size) {
      minor = 0;
      ++major;
    }
  }
};

template <class T>
void read_matrices(const T* data, const Source& s, int64_t count, int64_t m, int64_t n,
                   const Columns& X) {
  const bool by_rows = s.col_stride == 1 && s.row_stride == n;
  if (by_rows || (s.row_stride == 1 && s.col_stride == m)) {
    Walk walk{by_rows ? n : m};
    read_flat(data, s.matrix_stride, count, m * n, [&](int64_t, Vec x) {
      by_rows ? put(X[walk.minor], walk.major, x) : put(X[walk.major], walk.minor, x);
      walk.step();
    });
    return;
  }
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) {
      float lanes[kWidth] = {};
      for (int64_t l = 0; l < count; ++l) {
        const T* x = data + l * s.matrix_stride + i * s.row_stride + j * s.col_stride;
        store(lanes + l, load(x, First{1}), First{1});
      }
      put(X[j], i, load(lanes, All{}));
    }
  }
}

// What scaling found out about each lane.
struct Lanes {
  float good[kWidth];   // 1 where the matrix is finite and exists, else 0
  float first[kWidth];  // first * second undoes the scale
  float second[kWidth];
  int32_t info[kWidth];
};

// Scales each matrix in X by a power of two; those with an inf or a NaN become zero.
inline void scale_lanes(const Columns& X, int64_t m, int64_t n, int64_t count, Lanes& lanes) {
  Vec largest = zero(), bad = zero();
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) {
      const Vec x = at(X[j], i);
      largest = larger(largest, magnitude(x));
      bad = fma(x, zero(), bad);
    }
  }
  float sizes[kWidth], bads[kWidth], lift[kWidth], second[kWidth];
  store(sizes, largest, All{});
  store(bads, bad, All{});
  for (int64_t l = 0; l < kWidth; ++l) {
    const bool finite = bads[l] == 0.0f;
    lanes.good[l] = finite && l < count ? 1.0f : 0.0f;
    lanes.info[l] = finite ? 0 : kNonFinite;
    const int exponent = finite ? lift_of(sizes[l]) : 0;
    const Scale up(exponent), down(-exponent);
    lift[l] = up.first;
    second[l] = up.second;
    lanes.first[l] = down.first;
    lanes.second[l] = down.second;
  }
  const Mask good = less(zero(), load(lanes.good, All{}));
  const Vec a = load(lift, All{}), b = load(second, All{});
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) {
      put(X[j], i, pick(good, mul(mul(at(X[j], i), a), b), zero()));
    }
  }
}

inline void mark_unconverged(Mask active, Lanes& lanes) {
  float left[kWidth];
  store(left, pick(active, splat(1.0f), zero()), All{});
  for (int64_t l = 0; l < kWidth; ++l) lanes.info[l] |= left[l] != 0.0f ? kUnconverged : 0;
}

inline void set_identity(const Columns& V, int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < n; ++i) put(V[j], i, splat(i == j ? 1.0f : 0.0f));
  }
}

SUBKERN_INLINE Vec lanes_dot(const float* a, const float* b, int64_t m) {
  Vec s0 = zero(), s1 = zero(), s2 = zero(), s3 = zero();
  int64_t i = 0;
  for (; i + 4 <= m; i += 4) {
    s0 = fma(at(a, i), at(b, i), s0);
    s1 = fma(at(a, i + 1), at(b, i + 1), s1);
    s2 = fma(at(a, i + 2), at(b, i + 2), s2);
    s3 = fma(at(a, i + 3), at(b, i + 3), s3);
  }
  for (; i < m; ++i) s0 = fma(at(a, i), at(b, i), s0);
  return add(add(s0, s1), add(s2, s3));
}

// Inner products of one column with kColumns others, entries [from, to), each from four sums.
template <int kColumns>
SUBKERN_INLINE void lanes_dots(const float* a, float* const* b, int64_t from, int64_t to,
                               Vec* products) {
  Vec sums[4][kColumns];
  for (auto& row : sums) {
    for (Vec& x : row) x = zero();
  }
  int64_t i = from;
  for (; i + 4 <= to; i += 4) {
    for (int r = 0; r < 4; ++r) {
      const Vec x = held(at(a, i + r));
      for (int c = 0; c < kColumns; ++c) sums[r][c] = fma(x, at(b[c], i + r), sums[r][c]);
    }
  }
  for (; i < to; ++i) {
    for (int c = 0; c < kColumns; ++c) sums[0][c] = fma(at(a, i), at(b[c], i), sums[0][c]);
  }
  for (int c = 0; c < kColumns; ++c) {
    products[c] = add(add(sums[0][c], sums[1][c]), add(sums[2][c], sums[3][c]));
  }
}

// Calls body(first column, Count<4>) or, for what is left of [from, to), body(column, Count<1>).
template <class Body>
SUBKERN_INLINE void by_fours(int64_t from, int64_t to, const Body& body) {
  int64_t j = from;
  for (; j + 4 <= to; j += 4) body(j, Count<4>{});
  for (; j < to; ++j) body(j, Count<1>{});
}

// Rows [i, i + kRows) of X times the symmetric n x n factor. rows: kRows n vectors.
template <int kRows>
SUBKERN_INLINE void polish_rows(const Columns& X, int64_t i, int64_t n, const float* factor,
                                float* rows) {
  for (int64_t p = 0; p < n; ++p) {
    for (int r = 0; r < kRows; ++r) put(rows, p * kRows + r, at(X[p], i + r));
  }
  by_fours(0, n, [&](int64_t q, auto columns) {
    constexpr int kColumns = decltype(columns)::value;
    Vec sums[kRows][kColumns];
    for (auto& row : sums) {
      for (Vec& x : row) x = zero();
    }
    for (int64_t p = 0; p < n; ++p) {
      Vec f[kColumns];
      for (int c = 0; c < kColumns; ++c) f[c] = held(at(factor, (q + c) * n + p));
      for (int r = 0; r < kRows; ++r) {
        const Vec x = held(at(rows, p * kRows + r));
        for (int c = 0; c < kColumns; ++c) sums[r][c] = fma(f[c], x, sums[r][c]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int c = 0; c < kColumns; ++c) put(X[q + c], i + r, sums[r][c]);
    }
  });
}

// X (1.5 I - 0.5 X^T X) for columns of m entries: squares their distance from orthonormal.
// scratch: n (n + 4) vectors.
inline void polish(const Columns& X, int64_t m, int64_t n, float* scratch) {
  float* const row = scratch + n * n * kWidth;
  for (int64_t p = 0; p < n; ++p) {
    by_fours(0, p + 1, [&](int64_t q, auto columns) {
      constexpr int kColumns = decltype(columns)::value;
      float* others[kColumns];
      Vec g[kColumns];
      for (int c = 0; c < kColumns; ++c) others[c] = X[q + c];
      lanes_dots<kColumns>(X[p], others, 0, m, g);
      for (int c = 0; c < kColumns; ++c) {
        const Vec t = fnma(splat(0.5f), g[c], splat(p == q + c ? 1.5f : 0.0f));
        put(scratch, p * n + q + c, t);
        put(scratch, (q + c) * n + p, t);
      }
    });
  }
  by_fours(0, m, [&](int64_t i, auto rows) {
    polish_rows<decltype(rows)::value>(X, i, n, scratch, row);
  });
}

// Per column and lane: does the entry of largest magnitude (lowest index) call for a change of
// sign?
SUBKERN_INLINE Mask wrong_sign(const float* column, int64_t m) {
  Vec value = at(column, 0), size = magnitude(value);
  for (int64_t i = 1; i < m; ++i) {
    const Vec x = at(column, i);
    const Mask beats = less(size, magnitude(x));
    value = pick(beats, x, value);
    size = larger(size, magnitude(x));
  }
  return less(value, zero());
}

SUBKERN_INLINE void negate_where(Mask wrong, float* column, int64_t m) {
  for (int64_t i = 0; i < m; ++i) {
    const Vec x = at(column, i);
    put(column, i, pick(wrong, sub(zero(), x), x));
  }
}

// Order of one lane's columns by key, stable; whether it differs from the order they are in.
inline bool order_lane(const float* keys, int64_t n, int64_t lane, bool falling, int64_t* order) {
  bool moved = false;
  for (int64_t j = 0; j < n; ++j) {
    const float key = keys[j * kWidth + lane];
    int64_t at = j;
    for (; at > 0; --at) {
      const float before = keys[order[at - 1] * kWidth + lane];
      if (falling ? before >= key : before <= key) break;
      order[at] = order[at - 1];
    }
    order[at] = j;
    moved |= at != j;
  }
  return moved;
}

// Puts one lane's columns (of `height` entries) into that order. row: n floats.
inline void permute_lane(const Columns& X, int64_t height, int64_t n, int64_t lane,
                         const int64_t* order, float* row) {
  for (int64_t i = 0; i < height; ++i) {
    for (int64_t j = 0; j < n; ++j) row[j] = X[j][i * kWidth + lane];
    for (int64_t j = 0; j < n; ++j) X[j][i * kWidth + lane] = row[order[j]];
  }
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
