// Tall matrices: Q R first, then the small R, then U = Q U_R.
#pragma once

#include "jacobi_lanes.h"
#include "jacobi_rows.h"
#include "kernels.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int kAtOnce = 4;  // rows of a product in registers

// Lanes of the v-th vector of a row of n entries.
inline First lanes_of(int64_t n, int v) {
  const int64_t left = n - v * int64_t{kWidth};
  return First{static_cast<int>(left < 0 ? 0 : smaller(left, kWidth))};
}

// Columns of a contiguous m x n matrix times their signs. A row's end and the next row's start
// share vectors: rows one by one would load what a store is still on its way to.
inline void scale_by_signs(float* U, int64_t m, int64_t n, const float* signs) {
  float pattern[kSvdLargest * kWidth];  // of n vectors, after which it repeats
  for (int64_t e = 0; e < n * kWidth; ++e) pattern[e] = signs[e % n];
  int64_t e = 0;
  for (; e + n * kWidth <= m * n; e += n * kWidth) {
    for (int64_t v = 0; v < n * kWidth; v += kWidth) {
      store(U + e + v, mul(load(U + e + v, All{}), load(pattern + v, All{})), All{});
    }
  }
  for (int64_t rest = e; rest < m * n; ++rest) U[rest] *= pattern[rest - e];
}

// U = Q F, by rows of at most kVecs vectors; each column then gets the sign that makes its entry of
// largest magnitude (lowest index) positive, and with it the row of Vh.
template <int kVecs>
void multiply_by_rows(const float* Q, int64_t m, int64_t n, const float* F, float* U, float* Vh) {
  constexpr int kRows = kVecs > 4 ? 1 : kAtOnce;
  float factor[kSvdLargest * kVecs * kWidth];
  Vec size[kVecs], value[kVecs];
  for (int v = 0; v < kVecs; ++v) {
    size[v] = splat(-1.0f);
    value[v] = zero();
    for (int64_t p = 0; p < n; ++p) {
      store(factor + (p * kVecs + v) * kWidth, load(F + p * n + v * kWidth, lanes_of(n, v)), All{});
    }
  }
  const auto rows = [&](int64_t i, auto count) {
    constexpr int kCount = decltype(count)::value;
    const float* const q = Q + i * n;
    float* const u = U + i * n;
    Vec sums[kCount][kVecs];
    for (auto& row : sums) {
      for (Vec& x : row) x = zero();
    }
    for (int64_t p = 0; p < n; ++p) {
      for (int v = 0; v < kVecs; ++v) {
        const Vec f = load(factor + (p * kVecs + v) * kWidth, All{});
        for (int r = 0; r < kCount; ++r) sums[r][v] = fma(splat(q[r * n + p]), f, sums[r][v]);
      }
    }
    for (int r = 0; r < kCount; ++r) {
      for (int v = 0; v < kVecs; ++v) {
        const Vec x = sums[r][v], now = magnitude(x);
        store(u + r * n + v * kWidth, x, lanes_of(n, v));
        value[v] = pick(less(size[v], now), x, value[v]);
        size[v] = larger(now, size[v]);
      }
    }
  };
  int64_t i = 0;
  for (; i + kRows <= m; i += kRows) rows(i, Count<kRows>{});
  for (; i < m; ++i) rows(i, Count<1>{});

  bool some = false;
  float signs[kVecs * kWidth];
  for (int v = 0; v < kVecs; ++v) {
    const Mask wrong = less(value[v], zero());
    some |= any(wrong);
    store(signs + v * kWidth, pick(wrong, splat(-1.0f), splat(1.0f)), All{});
  }
  if (!some) return;
  scale_by_signs(U, m, n, signs);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t k = 0; k < n; ++k) Vh[j * n + k] *= signs[j];
  }
}

inline void multiply_by_rows(const float* Q, int64_t m, int64_t n, const float* F, float* U,
                             float* Vh) {
  if (n <= kWidth) return multiply_by_rows<1>(Q, m, n, F, U, Vh);
  if (n <= 2 * kWidth) return multiply_by_rows<2>(Q, m, n, F, U, Vh);
  if (n <= 4 * kWidth) return multiply_by_rows<4>(Q, m, n, F, U, Vh);
  if constexpr (4 * kWidth < kSvdLargest) {
    multiply_by_rows<kSvdLargest / kWidth>(Q, m, n, F, U, Vh);
  }
}

// out (n x m) = Ft Q^T, both factors by rows.
inline void multiply_transposed(const float* Q, int64_t m, int64_t n, const float* Ft, float* out) {
  float columns[kSvdLargest][kWidth];
  for (int64_t i = 0; i < m; i += kWidth) {
    const int64_t here = smaller(kWidth, m - i);
    for (int64_t p = 0; p < n; p += kWidth) {
      const int64_t across = smaller(kWidth, n - p);
      Vec square[kWidth];
      for (int64_t k = 0; k < kWidth; ++k) {
        square[k] = k < here ? load(Q + (i + k) * n + p, First{static_cast<int>(across)}) : zero();
      }
      transpose(square);
      for (int64_t k = 0; k < across; ++k) store(columns[p + k], square[k], All{});
    }
    for (int64_t j = 0; j < n; j += kAtOnce) {
      const int64_t count = smaller(int64_t{kAtOnce}, n - j);
      Vec sums[kAtOnce];
      for (Vec& s : sums) s = zero();
      for (int64_t p = 0; p < n; ++p) {
        const Vec q = load(columns[p], All{});
        for (int64_t r = 0; r < count; ++r) sums[r] = fma(splat(Ft[(j + r) * n + p]), q, sums[r]);
      }
      for (int64_t r = 0; r < count; ++r) {
        float* const row = out + (j + r) * m + i;
        if (here == kWidth) {
          store(row, sums[r], All{});
        } else {
          store(row, sums[r], First{static_cast<int>(here)});
        }
      }
    }
  }
}

// Q and R of a group of tall matrices, and what R was scaled by. Fused: Q is never written but
// where it needs more than two passes, and then to where U will be.
struct TallGroup {
  int64_t m, n, group;
  bool fused;
  float *Q, *R, *U, *copy;
  char* scratch;
  int lift[kWidth];
  bool scaled[kWidth];

  static int64_t lines(int64_t floats) { return (floats + 15) / 16 * 16; }
  static int64_t floats(int64_t m, int64_t n, int64_t group) {
    return lines(group * m * n) + 2 * lines(group * n * n) + lines(m * n) +
           (parts(group) + 1) * part_bytes(m, n) / 4;
  }

  TallGroup(int64_t m_, int64_t n_, int64_t group_, bool transposed, float* memory)
      : m(m_),
        n(n_),
        group(group_),
        fused(!transposed && n_ <= sk_orthonormalize_product_columns()),
        Q(memory) {
    R = Q + lines(group * m * n);
    U = R + lines(group * n * n);
    copy = U + lines(group * n * n);
    scratch = reinterpret_cast<char*>(copy + lines(m * n));
  }

  void factor(const SvdSmallBatch& batch, int64_t row_stride, int64_t col_stride) {
    int32_t info[kWidth] = {};
    if (fused) Q = batch.U;
    for (int64_t p = 0; p < parts(batch.count); ++p) {
      const OrthonormalizeBlock block = part(batch, p, row_stride, col_stride, info);
      (fused ? sk_orthonormalize_factor : sk_orthonormalize_block)(block);
    }
    for (int64_t l = 0; l < batch.count; ++l) {
      lift[l] = 0;
      scaled[l] = false;
      if ((info[l] & kNonFinite) == 0 && out_of_range(R + l * n * n)) {
        factor_scaled(batch, l, row_stride, col_stride);
      }
    }
  }

  // U of a lane from the left vectors of its R; signs go to Vh as well.
  void expand(const SvdSmallBatch& batch, int64_t l, int64_t row_stride, int64_t col_stride) const {
    const float* const u = U + l * n * n;
    float *const to = batch.U + l * m * n, *const Vh = batch.Vh + l * n * n;
    const int64_t at_once = sk_orthonormalize_group();
    float signs[kSvdLargest];
    if (fused && !scaled[l] &&
        sk_orthonormalize_product(part(batch, l / at_once, row_stride, col_stride, nullptr),
                                  l % at_once, u, signs)) {
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t k = 0; k < n; ++k) Vh[j * n + k] *= signs[j];
      }
    } else {
      multiply_by_rows(Q + l * m * n, m, n, u, to, Vh);
    }
  }

 private:
  static int64_t parts(int64_t count) {
    const int64_t at_once = sk_orthonormalize_group();
    return (count + at_once - 1) / at_once;
  }
  static int64_t part_bytes(int64_t m, int64_t n) {
    return (sk_orthonormalize_scratch(m, n) + 63) / 64 * 64;
  }

  // Matrices that are orthonormalized together, with scratch of their own.
  OrthonormalizeBlock part(const SvdSmallBatch& batch, int64_t p, int64_t row_stride,
                           int64_t col_stride, int32_t* info) const {
    const int64_t from = p * sk_orthonormalize_group();
    const void* Y = nullptr;
    with_type(batch.A, batch.dtype, [&](auto* data) { Y = data + from * batch.matrix_stride; });
    return {Y,
            batch.dtype,
            smaller(sk_orthonormalize_group(), batch.count - from),
            m,
            n,
            batch.matrix_stride,
            row_stride,
            col_stride,
            Q + from * m * n,
            R + from * n * n,
            info == nullptr ? nullptr : info + from,
            scratch + (p + 1) * part_bytes(m, n),
            batch.streams,
            batch.ahead};
  }

  // Whether R has lost digits to subnormal numbers, or may overflow.
  bool out_of_range(const float* r) const {
    const float largest = largest_of(r, n, n, n);
    return !(largest >= 0x1p-80f && largest <= 0x1p120f) && largest != 0.0f;
  }

  // The same for one matrix brought to scale.
  void factor_scaled(const SvdSmallBatch& batch, int64_t l, int64_t row_stride,
                     int64_t col_stride) {
    with_type(batch.A, batch.dtype, [&](auto* data) {
      const auto* x = data + l * batch.matrix_stride;
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          copy[i * n + j] = element(x + i * row_stride + j * col_stride);
        }
      }
    });
    scaled[l] = true;
    lift[l] = lift_of(largest_of(copy, n, n, m));
    scale_columns(copy, n, n, m, Scale(lift[l]));
    int32_t info = 0;
    sk_orthonormalize_block({copy, kFloat32, 1, m, n, m * n, n, 1, Q + l * m * n, R + l * n * n,
                             &info, scratch, false, 0});
  }
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
