// Launches orthonormalize: a block for each matrix that fits one, else as orthonormalize_split.cu.
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

bool fits(int64_t rows, int64_t cols, int device) {
  const int64_t bytes = cols <= 8    ? shared_bytes<8>(rows, cols)
                        : cols <= 16 ? shared_bytes<16>(rows, cols)
                        : cols <= 32 ? shared_bytes<32>(rows, cols)
                                     : shared_bytes<64>(rows, cols);
  return bytes <= most_shared(device);
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

int64_t cuda_orthonormalize_workspace(int64_t count, int64_t rows, int64_t cols, int device) {
  return fits(rows, cols, device) ? 0 : cuda_orthonormalize_split_workspace(count, rows, cols);
}

int cuda_orthonormalize(const CudaOrthonormalize& call, const CudaQueue& queue,
                        int64_t launches[2]) {
  const CudaMatrices& Y = call.Y;
  if (Y.count == 0) return 0;
  if (!fits(Y.rows, Y.cols, queue.device)) {
    return cuda_orthonormalize_split(call, queue, launches + 1);
  }
  const DeviceScope scope(queue.device);
  if (scope.status() != 0) return scope.status();
  const OrthonormalizeArguments a{Y.data,
                                  Y.dtype == kBFloat16,
                                  Y.matrix_stride,
                                  Y.row_stride,
                                  Y.col_stride,
                                  call.Q,
                                  call.R,
                                  call.info,
                                  static_cast<int>(Y.rows),
                                  static_cast<int>(Y.cols)};
  ++launches[0];
  if (Y.cols <= 8) return launch<8>(a, Y.count, queue.stream);
  if (Y.cols <= 16) return launch<16>(a, Y.count, queue.stream);
  if (Y.cols <= 32) return launch<32>(a, Y.count, queue.stream);
  return launch<64>(a, Y.count, queue.stream);
}

}  // namespace subkern
