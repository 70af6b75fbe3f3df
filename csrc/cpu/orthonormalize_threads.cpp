// Orthonormalization of a batch on threads: groups of matrices are handed out.
#include <omp.h>

#include "isa.h"
#include "subkern/orthonormalize.h"
#include "work.h"

namespace subkern {

int64_t orthonormalize_workspace(int64_t m, int64_t k, int threads) {
  return active_kernels().sk_orthonormalize_scratch(m, k) * threads;
}

void sk_orthonormalize(const OrthonormalizeBlock& batch, int threads) {
  const Kernels& kernels = active_kernels();
  const int64_t bytes = kernels.sk_orthonormalize_scratch(batch.m, batch.k);
  // An element takes part in as many multiply-adds as there are columns.
  const double work = static_cast<double>(batch.count) * batch.m * batch.k * (batch.k + 8) / 4;
  const int team = static_cast<int>(
      std::min<int64_t>(team_for(static_cast<int64_t>(std::min(work, 1e15)), threads),
                        std::max<int64_t>(1, batch.count)));
  const int64_t group = std::min(kernels.sk_orthonormalize_group(),
                                 std::max<int64_t>(1, blocks_of(batch.count, team)));
  const int64_t groups = blocks_of(batch.count, group);
#pragma omp parallel num_threads(team)
  {
    char* const mine = static_cast<char*>(batch.scratch) + omp_get_thread_num() * bytes;
#pragma omp for schedule(dynamic)
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t from = g * group;
      OrthonormalizeBlock block = batch;
      block.count = std::min(group, batch.count - from);
      block.Y = at(batch.Y, batch.dtype, from * batch.matrix_stride);
      block.Q = batch.Q + from * batch.m * batch.k;
      block.R = batch.R + from * batch.k * batch.k;
      block.info = batch.info + from;
      block.scratch = mine;
      kernels.sk_orthonormalize_block(block);
    }
  }
}

}  // namespace subkern
