// The optimizers' kernels of an instruction-set variant: single-threaded, for one block.
#pragma once

#include "subkern/adam.h"
#include "subkern/lowrank_adam.h"
#include "subkern/product.h"
#include "subkern/types.h"

namespace subkern {

struct AdamConstants {
  float beta1;
  float one_minus_beta1;
  float beta2;
  float one_minus_beta2;
  float eps;
};

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

struct ApplyBlock {
  Panel W, T, X;
  const float* coef;
  int coef_axis;
  int64_t rows;
  int64_t cols;
  float decay;
};

// One factor of a product: element (a, p) at data[a * stride + p * sum_stride], p is summed over.
struct Factor {
  const void* data;
  Dtype dtype;
  int64_t size;
  int64_t stride;
  int64_t sum_stride;
};

// C(i, j) = sum over p, with the basis packed once and the other factor block by block.
struct ProductJob {
  Factor basis;
  Factor streamed;
  bool basis_gives_rows;  // rows of C come from the basis, else its columns do
  int64_t depth;          // terms of a sum,
  int64_t depth_block;    // and how many are added up before they go to memory
  Panel C;
  bool update;  // C = decay C + sum + coef X, else C = sum
  Panel X;      // beside C
  const float* coef;
  int coef_axis;  // 1: one per column of C, 0: one per row
  float decay;
  float* norms;   // sum of squares per index of the streamed factor, or null
  float* packed;  // the packed basis
};

#define SUBKERN_OPTIMIZER_KERNELS(KERNEL)                                                         \
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
  KERNEL(void, sk_apply_block, (const ApplyBlock& block))                                         \
  /* Indices of one packed strip: of the factor that gives C's rows, or its columns. */           \
  KERNEL(int64_t, sk_product_strip, (bool rows))                                                  \
  KERNEL(void, sk_product_pack_basis, (const ProductJob& job, int64_t strip))                     \
  /* C for indices [from, from + count) of the streamed factor; [next_from, next_from +           \
     next_count) comes after it on this thread. scratch: 2 + depth_block floats per index. */     \
  KERNEL(void, sk_product_block,                                                                  \
         (const ProductJob& job, int64_t from, int64_t count, int64_t next_from,                  \
          int64_t next_count, float* scratch))

}  // namespace subkern
