// Singular value decomposition of a batch: groups of matrices on threads.
#include "groups.h"
#include "subkern/svd_small.h"

namespace subkern {
namespace {

struct Plan {
  bool transposed;
  int64_t group, bytes;

  Plan(const Kernels& kernels, int64_t m, int64_t n) : transposed(m < n) {
    const int64_t rows = std::max(m, n), cols = std::min(m, n);
    group = kernels.sk_svd_small_group(rows, cols);
    bytes = kernels.sk_svd_small_scratch(rows, cols);
  }
};

SvdSmallBatch part_of(const SvdSmallBatch& batch, int64_t first, int64_t count, int threads) {
  SvdSmallBatch part = batch;
  const int64_t k = std::min(batch.m, batch.n);
  part.A = at(batch.A, batch.dtype, first * batch.matrix_stride);
  part.count = count;
  part.U += first * batch.m * k;
  part.S += first * k;
  part.Vh += first * k * batch.n;
  part.info += first;
  // With more threads the next group is likely another's.
  part.ahead = threads == 1 && first + count < batch.count ? count * batch.matrix_stride : 0;
  return part;
}

}  // namespace

int64_t svd_small_workspace(int64_t m, int64_t n, int threads) {
  return scratch_for(Plan(active_kernels(), m, n).bytes, threads);
}

void sk_svd_small(const SvdSmallBatch& batch, void* workspace, int threads) {
  if (std::min(batch.m, batch.n) == 0) {
    std::fill_n(batch.info, batch.count, 0);
    return;
  }
  const Kernels& kernels = active_kernels();
  const Plan plan(kernels, batch.m, batch.n);
  SvdSmallBatch whole = batch;
  whole.streams = streamed(batch.U, batch.count * batch.m * std::min(batch.m, batch.n));
  run_groups(batch.count, plan.group, plan.bytes, workspace, threads,
             [&](int64_t first, int64_t count, void* scratch) {
               kernels.sk_svd_small_block(part_of(whole, first, count, threads), plan.transposed,
                                          scratch);
             });
}

}  // namespace subkern
