// Eigen-decomposition of a batch of symmetric matrices: groups of matrices on threads.
#include "groups.h"
#include "subkern/eigh_small.h"

namespace subkern {

int64_t eigh_small_workspace(int64_t n, int threads) {
  return scratch_for(active_kernels().sk_eigh_small_scratch(n), threads);
}

void sk_eigh_small(const EighSmallBatch& batch, void* workspace, int threads) {
  if (batch.n == 0) {
    std::fill_n(batch.info, batch.count, 0);
    return;
  }
  const Kernels& kernels = active_kernels();
  run_groups(batch.count, kernels.sk_eigh_small_group(batch.n),
             kernels.sk_eigh_small_scratch(batch.n), workspace, threads,
             [&](int64_t first, int64_t count, void* scratch) {
               EighSmallBatch part = batch;
               part.C = at(batch.C, batch.dtype, first * batch.matrix_stride);
               part.count = count;
               part.w += first * batch.n;
               part.V += first * batch.n * batch.n;
               part.info += first;
               kernels.sk_eigh_small_block(part, scratch);
             });
}

}  // namespace subkern
