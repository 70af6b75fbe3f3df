// Mixed CholeskyQR2 with repair of a matrix in shared memory, by one block.
#pragma once

#include "orthonormalize_repair.cuh"

namespace subkern {

// Results in the scratch: row i of R starts at R + i * K; column j is to be scaled by
// 2^exponent[j].
struct Orthonormalized {
  int info;
  const double* R;
};

// Orthonormalizes the columns of Y, no more than K, in place; 1 <= cols <= rows. All threads of the
// block call, after a barrier: whole warps, at most 8, and at least 2 for K = 64. A matrix with an
// entry that is not finite is left as it is, and R undefined.
template <int K>
__device__ __forceinline__ Orthonormalized orthonormalize_in_shared(const SharedMatrix& Y,
                                                                    OrthonormalizeScratch<K>& s) {
  double *sums = s.buffers[0], *step = s.buffers[1], *R = s.buffers[2];
  const double threshold = pivot_threshold(Y.rows);
  if (threadIdx.x == 0) s.failed = 0, s.nonfinite = 0, s.again = 0;
#pragma unroll 1
  for (int pass = 0; pass < 3; ++pass) {
    gram_in_shared<K>(Y, sums);
    __syncthreads();
    if (K > kWarp || threadIdx.x < kWarp) {
      factor_columns<K>(s, sums, pass == 0 ? R : step, Y.cols, threshold, pass == 0);
    }
    __syncthreads();
    if (s.nonfinite != 0) return {kNonFinite, nullptr};
    const bool last = pass == 2 || (pass == 1 && s.again == 0);
    divide_in_shared<K>(Y, s, reinterpret_cast<const float*>(sums), pass == 0);
    if (threadIdx.x == 0 && pass == 0) s.again = 0;
    __syncthreads();
    if (pass > 0) {
      multiply_factors<K>(step, R, Y.cols, sums);
      double* const product = sums;
      sums = R;
      R = product;
      __syncthreads();
    }
    if (last) break;
  }
  if (s.failed == 0) return {0, R};
  repair_in_shared<K>(Y, s, R);
  return {kDeficient, R};
}

}  // namespace subkern
