// What each instruction-set variant offers to dispatch.cpp: single-threaded kernels for one block.
#pragma once

#include "subkern/adam.h"
#include "subkern/gemm.h"
#include "subkern/lowrank_adam.h"
#include "subkern/types.h"

namespace subkern {

struct AdamConstants {
  float beta1;
  float one_minus_beta1;
  float beta2;
  float one_minus_beta2;
  float eps;
};

// Tiles of C in sk_gemm_tile; with few terms per sum they follow the rows of C.
constexpr int64_t kGemmRows = 96;
constexpr int64_t kGemmCols = 256;
constexpr int64_t kGemmShallow = 4;
constexpr int64_t kGemmShallowCols = 4096;

// A block of rows x cols of R with M and V beside it; all three share the leading dimension ld.
struct MomentsBlock {
  void* R;
  Dtype dtype;
  float* M;
  float* V;
  int64_t rows;
  int64_t cols;
  int64_t ld;
};

// count canonical columns of length len: element (i, j) at X[i * stride + j * column_stride].
struct ColumnsBlock {
  const void* X;
  Dtype dtype;
  int64_t len;
  int64_t stride;
  int64_t count;
  int64_t column_stride;
};

struct ApplyBlock {
  Panel W, T, X;
  const float* coef;
  int coef_axis;
  int64_t rows;
  int64_t cols;
  float decay;
};

#define SUBKERN_KERNELS(KERNEL)                                                                   \
  /* Does x[0, n) hold an inf or a NaN? */                                                        \
  KERNEL(bool, sk_has_nonfinite, (const void* x, Dtype dtype, int64_t n))                         \
  /* W = decay W + factor N on n elements. */                                                     \
  KERNEL(void, sk_adam_block,                                                                     \
         (void* W, const void* G, Dtype dtype, float* M, float* V, int64_t n,                     \
          const AdamConstants& adam, float decay, float factor))                                  \
  /* R = factor N on n elements. */                                                               \
  KERNEL(void, sk_galore_block,                                                                   \
         (void* R, Dtype dtype, float* M, float* V, int64_t n, const AdamConstants& adam,         \
          float factor))                                                                          \
  /* Moments, and the sums of N^2 and R^2 over each column (cols) or each row (rows). Columns     \
     sum in one fp32 chain: keep their blocks short. */                                           \
  KERNEL(void, sk_moments_cols,                                                                   \
         (const MomentsBlock& block, const AdamConstants& adam, float* nn, float* rr))            \
  KERNEL(void, sk_moments_rows,                                                                   \
         (const MomentsBlock& block, const AdamConstants& adam, float* nn, float* rr))            \
  /* R = factor N + residual c R; c is col_c[j], or row_c[i * row_c_stride] if col_c is null. */  \
  KERNEL(void, sk_fira_direction,                                                                 \
         (const MomentsBlock& block, float eps, float factor, float residual, const float* col_c, \
          const float* row_c, int64_t row_c_stride))                                              \
  /* xx[j] = sum of squares of canonical column j; in one chain if column_stride is 1. */         \
  KERNEL(void, sk_column_norms, (const ColumnsBlock& block, float* xx))                           \
  KERNEL(void, sk_apply_block, (const ApplyBlock& block))                                         \
  /* Rows [i, i + rows) and columns [j, j + cols) of C, whole sum over k. */                      \
  KERNEL(void, sk_gemm_tile, (const Gemm& gemm, int64_t i, int64_t rows, int64_t j, int64_t cols))

#define SUBKERN_DECLARE(result, name, arguments) result name arguments;

#ifdef SUBKERN_ISA
namespace SUBKERN_ISA {
SUBKERN_KERNELS(SUBKERN_DECLARE)
}
#endif

}  // namespace subkern
