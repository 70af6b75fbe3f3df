// Launches orthonormalize: a block for each matrix.
#include "orthonormalize.cuh"
#include "subkern/cuda/orthonormalize.h"

namespace subkern {

namespace {

// Threads of a block: one for each row, within limits.
int threads_of(int64_t rows, int K) {
  int threads = K == 64 ? 64 : 32;
  while (threads < rows && threads < orthonormalize_threads(K)) threads *= 2;
  return threads;
}

template <int K>
int64_t shared_bytes(int64_t rows, int64_t cols) {
  return static_cast<int64_t>(sizeof(OrthonormalizeScratch<K>)) +
         shared_pitch(rows, cols) * cols * static_cast<int64_t>(sizeof(float));
}

template <int K>
int launch(const OrthonormalizeArguments& a, int64_t count, void* stream) {
  const int64_t bytes = shared_bytes<K>(a.rows, a.cols);
  if (const int status = allow_shared(orthonormalize_kernel<K>, bytes)) return status;
  SK_LAUNCH(orthonormalize_kernel<K>, static_cast<unsigned>(count), threads_of(a.rows, K),
            static_cast<size_t>(bytes), stream, a);
  return launch_status();
}

}  // namespace

bool cuda_orthonormalize_fits(int64_t rows, int64_t cols, int device) {
  if (cols > kCudaOrthonormalizeCols || rows > 1 << 20) return false;
  const int64_t bytes = cols <= 8    ? shared_bytes<8>(rows, cols)
                        : cols <= 16 ? shared_bytes<16>(rows, cols)
                        : cols <= 32 ? shared_bytes<32>(rows, cols)
                                     : shared_bytes<64>(rows, cols);
  return bytes <= most_shared(device);
}

int cuda_orthonormalize(const CudaOrthonormalize& call, const CudaQueue& queue) {
  const DeviceScope scope(queue.device);
  if (scope.status() != 0) return scope.status();
  if (call.count == 0) return 0;
  const OrthonormalizeArguments a{call.Y,
                                  call.dtype == kBFloat16,
                                  call.matrix_stride,
                                  call.row_stride,
                                  call.col_stride,
                                  call.Q,
                                  call.R,
                                  call.info,
                                  static_cast<int>(call.rows),
                                  static_cast<int>(call.cols)};
  if (call.cols <= 8) return launch<8>(a, call.count, queue.stream);
  if (call.cols <= 16) return launch<16>(a, call.count, queue.stream);
  if (call.cols <= 32) return launch<32>(a, call.count, queue.stream);
  return launch<64>(a, call.count, queue.stream);
}

}  // namespace subkern
