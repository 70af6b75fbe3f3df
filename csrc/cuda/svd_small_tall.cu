// Launches svd_small for tall matrices that a block holds.
#include <algorithm>

#include "subkern/cuda/svd_small.h"
#include "svd_small_tall.cuh"

namespace subkern {

namespace {

template <int K>
int64_t shared_bytes(int64_t rows, int64_t cols) {
  return static_cast<int64_t>(sizeof(OrthonormalizeScratch<K>)) +
         shared_pitch(rows, cols) * cols * static_cast<int64_t>(sizeof(float));
}

template <int K>
int launch(const SvdTallArguments& a, int64_t batch, void* stream) {
  const int64_t bytes = shared_bytes<K>(a.rows, a.cols);
  if (const int status = allow_shared(svd_small_tall_kernel<K>, bytes)) return status;
  int threads = kWarp;  // one for each row, within limits
  while (threads < a.rows && threads < orthonormalize_threads(K)) threads *= 2;
  SK_LAUNCH(svd_small_tall_kernel<K>, static_cast<unsigned>(batch), threads,
            static_cast<size_t>(bytes), stream, a);
  return launch_status();
}

}  // namespace

bool cuda_svd_small_tall_fits(int64_t m, int64_t n, int device) {
  const int64_t rows = std::max(m, n), cols = std::min(m, n);
  if (cols > kWarp || rows > 1 << 20) return false;
  const int64_t bytes = cols <= 8    ? shared_bytes<8>(rows, cols)
                        : cols <= 16 ? shared_bytes<16>(rows, cols)
                                     : shared_bytes<32>(rows, cols);
  return bytes <= most_shared(device);
}

int cuda_svd_small_tall(const CudaSvdSmall& call, const CudaQueue& queue) {
  const bool transposed = call.m < call.n;
  const SvdTallArguments a{call.A,
                           call.dtype == kBFloat16,
                           call.batch_stride,
                           transposed ? call.col_stride : call.row_stride,
                           transposed ? call.row_stride : call.col_stride,
                           transposed ? call.Vh : call.U,
                           call.S,
                           transposed ? call.U : call.Vh,
                           call.info,
                           static_cast<int>(std::max(call.m, call.n)),
                           static_cast<int>(std::min(call.m, call.n)),
                           transposed};
  if (a.cols <= 8) return launch<8>(a, call.batch, queue.stream);
  if (a.cols <= 16) return launch<16>(a, call.batch, queue.stream);
  return launch<32>(a, call.batch, queue.stream);
}

}  // namespace subkern
