// Gram matrices on threads: bands of rows of all matrices are handed out, the largest of a matrix
// first. Every sum has one owner, so results depend neither on the threads nor on the batch.
#include <omp.h>

#include "gram_kernels.h"
#include "work.h"

namespace subkern {
namespace {

constexpr int64_t kLine = 64;  // bytes of a cache line

int64_t thread_bytes(const Kernels& kernels, const GramBatch& batch) {
  return blocks_of(kernels.sk_gram_scratch(batch.side, batch.wide), kLine) * kLine + kLine;
}

}  // namespace

int64_t gram_workspace(const GramBatch& batch, int threads) {
  return threads * thread_bytes(active_kernels(), batch);
}

void sk_gram(const GramBatch& batch, void* workspace, int threads) {
  const Kernels& kernels = active_kernels();
  const int64_t bands = blocks_of(batch.side, kGramBand), tasks = batch.batch * bands;
  const int64_t bytes = thread_bytes(kernels, batch);
  // A multiply-add costs an eighth of what moving an element does.
  const double work = static_cast<double>(batch.batch) * batch.depth * batch.side *
                      (1.0 + static_cast<double>(batch.side) / 16.0);
#pragma omp parallel num_threads(team_for(static_cast<int64_t>(std::min(work, 1e15)), threads))
  {
    char* const mine = static_cast<char*>(workspace) + omp_get_thread_num() * bytes;
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < tasks; ++task) {
      const int64_t band = bands - 1 - task % bands;
      kernels.sk_gram_band(batch, task / bands, band * kGramBand, mine);
    }
  }
}

}  // namespace subkern
