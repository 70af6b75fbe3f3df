// The launches of orthonormalize: a block for each matrix that fits one, else rows in slices and a
// factor after each pass over them; and its rare paths.
#pragma once

#include "launch_plan.h"
#include "orthonormalize_layout.h"
#include "subkern/cuda/orthonormalize.h"

namespace subkern {

template <int K>
struct OrthonormalizeKernel {
  static constexpr const char* kHeader = "orthonormalize.cuh";
  static std::string name() { return "orthonormalize_kernel<" + std::to_string(K) + ">"; }
};

template <int K>
struct SliceKernel {
  static constexpr const char* kHeader = "orthonormalize_split.cuh";
  static std::string name() { return "orthonormalize_slice_kernel<" + std::to_string(K) + ">"; }
};

template <int K>
struct FactorKernel {
  static constexpr const char* kHeader = "orthonormalize_split.cuh";
  static std::string name() { return "orthonormalize_factor_kernel<" + std::to_string(K) + ">"; }
};

template <int K>
struct FinishKernel {
  static constexpr const char* kHeader = "orthonormalize_split.cuh";
  static std::string name() { return "orthonormalize_finish_kernel<" + std::to_string(K) + ">"; }
};

struct RepairKernel {
  static constexpr const char* kHeader = "orthonormalize_rows.cuh";
  static std::string name() { return "orthonormalize_repair_kernel"; }
};

struct CholeskyKernel {
  static constexpr const char* kHeader = "orthonormalize_rows.cuh";
  static std::string name() { return "orthonormalize_cholesky_kernel"; }
};

template <int K>
struct Columns {
  static constexpr int kMost = K;
};

// What `run` returns for the kernels of so many columns.
template <class Run>
auto with_columns(int64_t cols, const Run& run) {
  if (cols <= 8) return run(Columns<8>());
  if (cols <= 16) return run(Columns<16>());
  if (cols <= 32) return run(Columns<32>());
  return run(Columns<64>());
}

// Threads of a block that holds a matrix: one for each row, within limits.
template <int K>
int whole_threads(int64_t rows) {
  int threads = K == 64 ? 64 : 32;
  while (threads < rows && threads < orthonormalize_threads(K)) threads *= 2;
  return threads;
}

template <int K>
int64_t whole_bytes(int64_t rows, int64_t cols) {
  return static_cast<int64_t>(sizeof(OrthonormalizeScratch<K>)) +
         shared_pitch(rows, cols) * cols * static_cast<int64_t>(sizeof(float));
}

inline bool fits_whole(int64_t rows, int64_t cols, int64_t most_shared) {
  return with_columns(cols, [&](auto columns) { return whole_bytes<columns.kMost>(rows, cols); }) <=
         most_shared;
}

// Where each part of the workspace of tall matrices starts.
template <int K>
struct SplitWorkspace {
  int64_t sums, coefficients, column, bytes;

  SplitWorkspace(int64_t count, int64_t rows, int64_t cols) {
    sums = count * static_cast<int64_t>(sizeof(OrthonormalizeState<K>));
    coefficients = sums + count * split_slices(rows, K) * GramSums<K>::kCount * 8;
    column = coefficients + count * cols * 8;
    bytes = column + count * rows * 4;
  }
};

inline int64_t split_workspace(int64_t count, int64_t rows, int64_t cols) {
  return with_columns(
      cols, [&](auto columns) { return SplitWorkspace<columns.kMost>(count, rows, cols).bytes; });
}

template <class Launch>
int plan_repair(const CudaRepair& call, const Launch& launch) {
  const CudaMatrices& Y = call.Y;
  if (Y.count == 0) return 0;
  const RepairArguments a{Y.data,
                          Y.dtype == kBFloat16,
                          Y.matrix_stride,
                          Y.row_stride,
                          Y.col_stride,
                          Y.rows,
                          static_cast<int>(Y.cols),
                          call.Q,
                          call.R,
                          call.R_stride,
                          static_cast<int>(call.R_pitch),
                          call.exponent,
                          call.first,
                          call.exponent_stride,
                          call.first_stride,
                          call.column,
                          call.coefficients};
  return launch({Y.count, 1, kRepairThreads, 0}, RepairKernel(), a);
}

template <class Launch>
int plan_cholesky(const CudaCholesky& call, const Launch& launch) {
  if (call.count == 0) return 0;
  const CholeskyArguments a{call.G, call.wanted, call.threshold, static_cast<int>(call.cols),
                            call.R, call.good};
  return launch({call.count, 1, kRepairThreads, 0}, CholeskyKernel(), a);
}

template <int K, class Launch>
int plan_whole(const CudaOrthonormalize& call, const Launch& launch) {
  const CudaMatrices& Y = call.Y;
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
  return launch({Y.count, 1, whole_threads<K>(Y.rows), whole_bytes<K>(Y.rows, Y.cols)},
                OrthonormalizeKernel<K>(), a);
}

template <int K, class Launch>
int plan_split(const CudaOrthonormalize& call, const Launch& launch) {
  constexpr int kFinishBlocks = 64;  // of a matrix, which they fill with NaN
  const CudaMatrices& Y = call.Y;
  const SplitWorkspace<K> at(Y.count, Y.rows, Y.cols);
  char* const workspace = static_cast<char*>(call.workspace);
  const SplitArguments a{Y.data,
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
                         reinterpret_cast<double*>(workspace + at.sums)};
  const int64_t slice_bytes =
      static_cast<int64_t>(sizeof(SliceShared<K>)) + 4 * K * shared_pitch(a.chunk_rows, K);
  const int64_t factor_bytes = sizeof(OrthonormalizeScratch<K>);
  for (int stage = 0; stage < 4; ++stage) {
    const LaunchShape slices{Y.count, a.slices, kSplitThreads, slice_bytes};
    if (const int status = launch(slices, SliceKernel<K>(), a, stage)) return status;
    if (stage == 3) break;
    const LaunchShape factors{Y.count, 1, kSplitThreads, factor_bytes};
    if (const int status = launch(factors, FactorKernel<K>(), a, stage)) return status;
  }
  auto* const states = static_cast<OrthonormalizeState<K>*>(call.workspace);
  constexpr int64_t kBytes = sizeof(OrthonormalizeState<K>);
  const CudaRepair repair{Y,
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
  if (const int status = plan_repair(repair, launch)) return status;
  return launch({Y.count, kFinishBlocks, 256, 0}, FinishKernel<K>(), a);
}

}  // namespace subkern
