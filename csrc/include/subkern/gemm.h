// fp32 product for small and vector shapes.
#pragma once

#include "subkern/types.h"

namespace subkern {

// C (m x n) = beta C + A (m x k) B (k x n); beta == 0 does not read C. Strides in elements.
struct Gemm {
  const float* A;
  int64_t a_row_stride;
  int64_t a_col_stride;
  const float* B;
  int64_t b_row_stride;
  int64_t b_col_stride;
  float* C;
  int64_t c_row_stride;
  int64_t c_col_stride;
  int64_t m;
  int64_t n;
  int64_t k;
  float beta;
};

// The order of every sum depends on the shapes and strides alone, never on `threads`.
void sk_gemm(const Gemm& gemm, int threads);

}  // namespace subkern
