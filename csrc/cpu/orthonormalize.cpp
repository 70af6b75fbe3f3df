// Mixed CholeskyQR2 of a group of matrices: rows are lanes in the tall products, matrices are lanes
// in the small factorizations. Nothing that one matrix gives depends on the others.
#include "kernels.h"
// After it: what the vectors of a variant need is declared there.
#include "orthonormalize_group.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int64_t kGroupBytes = 1 << 18;  // of the matrices that are read three times

// Matrices of a group: of narrow ones as many as the second-level cache keeps beside the next.
int64_t together(int64_t m, int64_t k) {
  if (k > kNarrow) return kDoubles;
  const int64_t most = kGroupBytes / (m * k * int64_t{sizeof(float)});
  return most < 1 ? 1 : smaller(most, kDoubles);
}

}  // namespace

int64_t sk_orthonormalize_scratch(int64_t m, int64_t k) {
  return Group(nullptr, Panels(m, k)).bytes();
}

int64_t sk_orthonormalize_group() { return kDoubles; }

int64_t sk_orthonormalize_product_columns() { return kNarrow; }

void sk_orthonormalize_factor(const OrthonormalizeBlock& block) {
  Group group(block.scratch, Panels(block.m, block.k));
  group.clear();
  with_type(block.Y, block.dtype, [&](auto* Y) { group.factorize(block, Y); });
}

bool sk_orthonormalize_product(const OrthonormalizeBlock& block, int64_t lane, const float* F,
                               float* signs) {
  Group group(block.scratch, Panels(block.m, block.k));
  bool made = false;
  with_type(block.Y, block.dtype, [&](auto* Y) { made = group.product(block, Y, lane, F, signs); });
  return made;
}

void sk_orthonormalize_block(const OrthonormalizeBlock& batch) {
  if (batch.m == 0 || batch.k == 0) return;
  Group group(batch.scratch, Panels(batch.m, batch.k));
  group.clear();
  const int64_t at_once = together(batch.m, batch.k);
  with_type(batch.Y, batch.dtype, [&](auto* Y) {
    for (int64_t from = 0; from < batch.count; from += at_once) {
      OrthonormalizeBlock block = batch;
      block.count = smaller(at_once, batch.count - from);
      block.Q += from * batch.m * batch.k;
      block.R += from * batch.k * batch.k;
      block.info += from;
      block.ahead = from + at_once < batch.count ? at_once * batch.matrix_stride : batch.ahead;
      const auto* const first = Y + from * batch.matrix_stride;
      group.factorize(block, first);
      for (int64_t l = 0; l < block.count; ++l) group.finish(block, first, l);
    }
  });
  if (batch.streams) stream_fence();
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
