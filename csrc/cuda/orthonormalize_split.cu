// Launches orthonormalize for tall matrices: rows in slices, a factor after each pass over them.
#include "orthonormalize_split.cuh"
#include "subkern/cuda/orthonormalize.h"

namespace subkern {

namespace {

constexpr int kFinishBlocks = 64;  // of a matrix, which they fill with NaN

template <int K>
struct Workspace {
  int64_t sums, coefficients, column, bytes;  // where each starts

  Workspace(int64_t count, int64_t rows, int64_t cols) {
    sums = count * static_cast<int64_t>(sizeof(OrthonormalizeState<K>));
    coefficients = sums + count * split_slices(rows, K) * GramSums<K>::kCount * 8;
    column = coefficients + count * cols * 8;
    bytes = column + count * rows * 4;
  }
};

template <int K>
int repair(const CudaOrthonormalize& call, const Workspace<K>& at, const CudaQueue& queue) {
  auto* const states = static_cast<OrthonormalizeState<K>*>(call.workspace);
  char* const workspace = static_cast<char*>(call.workspace);
  constexpr int64_t kBytes = sizeof(OrthonormalizeState<K>);
  const CudaRepair repair{call.Y,
                          call.Q,
                          states->R,
                          kBytes / 8,
                          K,
                          states->columns.exponent,
                          &states->first_failed,
                          kBytes / 4,
                          kBytes / 4,
                          reinterpret_cast<float*>(workspace + at.column),
                          reinterpret_cast<double*>(workspace + at.coefficients)};
  return cuda_orthonormalize_repair(repair, queue);
}

template <int K>
int split(const CudaOrthonormalize& call, const CudaQueue& queue, int64_t* launches) {
  const CudaMatrices& Y = call.Y;
  const Workspace<K> at(Y.count, Y.rows, Y.cols);
  SplitArguments a{Y.data,
                   Y.dtype == kBFloat16,
                   Y.matrix_stride,
                   Y.row_stride,
                   Y.col_stride,
                   call.Q,
                   call.R,
                   call.info,
                   Y.rows,
                   static_cast<int>(Y.cols),
                   split_chunk_rows(K),
                   split_slices(Y.rows, K),
                   call.workspace,
                   reinterpret_cast<double*>(static_cast<char*>(call.workspace) + at.sums)};
  const size_t slice_bytes = sizeof(SliceShared<K>) +
                             sizeof(float) * K * static_cast<size_t>(shared_pitch(a.chunk_rows, K));
  const size_t factor_bytes = sizeof(OrthonormalizeScratch<K>);
  if (const int status = allow_shared(orthonormalize_slice_kernel<K>, slice_bytes)) return status;
  if (const int status = allow_shared(orthonormalize_factor_kernel<K>, factor_bytes)) return status;
  const unsigned count = static_cast<unsigned>(Y.count);
  for (int stage = 0; stage < 4; ++stage) {
    SK_LAUNCH(orthonormalize_slice_kernel<K>, dim3(count, static_cast<unsigned>(a.slices)),
              kSplitThreads, slice_bytes, queue.stream, a, stage);
    if (const int status = launch_status()) return status;
    ++*launches;
    if (stage == 3) break;
    SK_LAUNCH(orthonormalize_factor_kernel<K>, count, kSplitThreads, factor_bytes, queue.stream, a,
              stage);
    if (const int status = launch_status()) return status;
    ++*launches;
  }
  if (const int status = repair<K>(call, at, queue)) return status;
  SK_LAUNCH(orthonormalize_finish_kernel<K>, dim3(count, kFinishBlocks), 256, 0, queue.stream, a);
  *launches += 2;
  return launch_status();
}

template <int K>
int64_t workspace_bytes(int64_t count, int64_t rows, int64_t cols) {
  return Workspace<K>(count, rows, cols).bytes;
}

}  // namespace

int64_t cuda_orthonormalize_split_workspace(int64_t count, int64_t rows, int64_t cols) {
  if (cols <= 8) return workspace_bytes<8>(count, rows, cols);
  if (cols <= 16) return workspace_bytes<16>(count, rows, cols);
  if (cols <= 32) return workspace_bytes<32>(count, rows, cols);
  return workspace_bytes<64>(count, rows, cols);
}

int cuda_orthonormalize_split(const CudaOrthonormalize& call, const CudaQueue& queue,
                              int64_t* launches) {
  const DeviceScope scope(queue.device);
  if (scope.status() != 0) return scope.status();
  if (call.Y.cols <= 8) return split<8>(call, queue, launches);
  if (call.Y.cols <= 16) return split<16>(call, queue, launches);
  if (call.Y.cols <= 32) return split<32>(call, queue, launches);
  return split<64>(call, queue, launches);
}

}  // namespace subkern
