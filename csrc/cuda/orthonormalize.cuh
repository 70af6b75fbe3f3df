// Orthonormal columns of many small matrices: a block for each, which holds it in shared memory.
#pragma once

#include "orthonormalize_shared.cuh"

namespace subkern {

template <int K>
__global__ void __launch_bounds__(orthonormalize_threads(K), K == 8    ? 3
                                                             : K == 64 ? 1
                                                                       : 2)
    orthonormalize_kernel(const __grid_constant__ OrthonormalizeArguments a) {
  SK_DYNAMIC_SHARED(OrthonormalizeScratch<K>, scratch);
  const int64_t matrix = blockIdx.x;
  const SharedMatrix Y{reinterpret_cast<float*>(scratch + 1), a.rows, a.cols,
                       static_cast<int>(shared_pitch(a.rows, a.cols))};
  const int64_t start = matrix * a.matrix_stride;
  if (a.narrow) {
    load_shared<bf16>({static_cast<const bf16*>(a.Y) + start, a.row_stride, a.col_stride}, Y);
  } else {
    load_shared<float>({static_cast<const float*>(a.Y) + start, a.row_stride, a.col_stride}, Y);
  }
  __syncthreads();
  const Orthonormalized result = orthonormalize_in_shared<K>(Y, *scratch);
  const bool finite = (result.info & kNonFinite) == 0;
  float* const R = a.R + matrix * a.cols * a.cols;
  for (int e = threadIdx.x; e < a.cols * a.cols; e += static_cast<int>(blockDim.x)) {
    const int i = e / a.cols, j = e % a.cols;
    const double entry = finite ? ldexp(result.R[i * K + j], scratch->exponent[j]) : 0.0;
    R[e] = finite ? static_cast<float>(entry) : __uint_as_float(0x7fc00000u);
  }
  float* const Q = a.Q + matrix * a.rows * a.cols;
  if (finite) {
    store_shared(Y, Q);
  } else {
    for (int e = threadIdx.x; e < a.rows * a.cols; e += static_cast<int>(blockDim.x)) {
      Q[e] = __uint_as_float(0x7fc00000u);
    }
  }
  if (threadIdx.x == 0) a.info[matrix] = result.info;
}

}  // namespace subkern
