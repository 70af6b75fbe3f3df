// Orthonormalization of a batch on threads: groups of matrices are handed out.
#include <omp.h>

#include "isa.h"
#include "subkern/orthonormalize.h"
#include "work.h"

namespace subkern {
namespace {

constexpr int64_t kPieces = 4;  // per thread

}  // namespace

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
  // Few pieces per thread: inside of one the next group is on its way while one is written.
  const int64_t piece =
      group * std::max<int64_t>(1, blocks_of(batch.count, group * team) / kPieces);
  const int64_t pieces = blocks_of(batch.count, piece);
  const bool streams = streamed(batch.Q, batch.count * batch.m * batch.k);
#pragma omp parallel num_threads(team)
  {
    char* const mine = static_cast<char*>(batch.scratch) + omp_get_thread_num() * bytes;
#pragma omp for schedule(dynamic)
    for (int64_t p = 0; p < pieces; ++p) {
      const int64_t from = p * piece;
      OrthonormalizeBlock block = batch;
      block.count = std::min(piece, batch.count - from);
      block.Y = at(batch.Y, batch.dtype, from * batch.matrix_stride);
      block.Q = batch.Q + from * batch.m * batch.k;
      block.R = batch.R + from * batch.k * batch.k;
      block.info = batch.info + from;
      block.scratch = mine;
      block.streams = streams;
      block.ahead = 0;
      kernels.sk_orthonormalize_block(block);
    }
  }
}

}  // namespace subkern
