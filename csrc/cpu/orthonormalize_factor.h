// The small triangular work of CholeskyQR2, in double, one matrix per lane. Entry (i, j) of lane l
// lies at [(i * k + j) * kDoubles + l]. Included by orthonormalize.cpp.
#pragma once

#include "simd_double.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

// out[0, kCols) of row i: G - sum over p < i of R(p, i) R(p, .), before the division by the pivot.
template <int kCols>
SUBKERN_INLINE void reduce_row(double* G, int64_t k, int64_t i, int64_t j) {
  Dvec acc[kCols];
#pragma GCC unroll 16
  for (int c = 0; c < kCols; ++c) acc[c] = dload(G + (i * k + j + c) * kDoubles);
  for (int64_t p = 0; p < i; ++p) {
    const Dvec factor = dload(G + (p * k + i) * kDoubles);
#pragma GCC unroll 16
    for (int c = 0; c < kCols; ++c) {
      acc[c] = fnma(factor, dload(G + (p * k + j + c) * kDoubles), acc[c]);
    }
  }
#pragma GCC unroll 16
  for (int c = 0; c < kCols; ++c) dstore(G + (i * k + j + c) * kDoubles, acc[c]);
}

// G <- R with R^T R = G in the upper half; rows of failed pivots are zero. inverse (k lanes) is the
// inverse of the diagonal, zero where the pivot failed.
inline void factor(double* G, int64_t k, double threshold, double* inverse) {
  for (int64_t i = 0; i < k; ++i) {
    const Dvec limit = mul(dsplat(threshold), dload(G + (i * k + i) * kDoubles));
    int64_t j = i;
    for (; j + 8 <= k; j += 8) reduce_row<8>(G, k, i, j);
    for (; j + 4 <= k; j += 4) reduce_row<4>(G, k, i, j);
    for (; j < k; ++j) reduce_row<1>(G, k, i, j);
    const Dvec pivot = dload(G + (i * k + i) * kDoubles);
    const Dvec safe = where_greater(pivot, limit, pivot, dsplat(1.0));
    const Dvec found = where_greater(pivot, limit, div(dsplat(1.0), root(safe)), dzero());
    dstore(inverse + i * kDoubles, found);
    for (j = i; j < k; ++j) {
      double* const entry = G + (i * k + j) * kDoubles;
      dstore(entry, mul(dload(entry), found));
    }
  }
}

// out(i, j ...) = sum over p of S(i, p) R(p, .), whose entries below the diagonal are zero.
template <int kCols>
SUBKERN_INLINE void multiply_row(const double* S, const double* R, int64_t k, int64_t i, int64_t j,
                                 double* out) {
  Dvec acc[kCols];
#pragma GCC unroll 16
  for (int c = 0; c < kCols; ++c) acc[c] = dzero();
  for (int64_t p = i; p < j + kCols; ++p) {
    const Dvec left = dload(S + (i * k + p) * kDoubles);
#pragma GCC unroll 16
    for (int c = 0; c < kCols; ++c) {
      acc[c] = fma(left, dload(R + (p * k + j + c) * kDoubles), acc[c]);
    }
  }
#pragma GCC unroll 16
  for (int c = 0; c < kCols; ++c) dstore(out + (i * k + j + c) * kDoubles, acc[c]);
}

// out = S R, upper triangular; out may be R.
inline void multiply(const double* S, const double* R, int64_t k, double* out) {
  for (int64_t i = 0; i < k; ++i) {
    int64_t j = i;
    for (; j + 8 <= k; j += 8) multiply_row<8>(S, R, k, i, j, out);
    for (; j + 4 <= k; j += 4) multiply_row<4>(S, R, k, i, j, out);
    for (; j < k; ++j) multiply_row<1>(S, R, k, i, j, out);
  }
}

// Largest |G - I| per lane over the columns whose last pivot, at inverse, did not fail.
inline void departure(const double* G, int64_t k, const double* inverse, double* found) {
  Dvec most = dzero();
  for (int64_t i = 0; i < k; ++i) {
    const Dvec one = where_greater(dload(inverse + i * kDoubles), dzero(), dsplat(1.0), dzero());
    for (int64_t j = i; j < k; ++j) {
      const Dvec entry = dload(G + (i * k + j) * kDoubles);
      const Dvec off = j == i ? sub(entry, one) : entry;
      most = larger(most, larger(off, sub(dzero(), off)));
    }
  }
  dstore(found, most);
}

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
