// Singular value decomposition of a block of matrices on one thread.
#include "kernels.h"
#include "svd_small_lanes.h"
#include "svd_small_rows.h"
#include "svd_small_tall.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int64_t kTallFrom = 8;           // times n: rows from which Q R is worth its while
constexpr int64_t kGroupFloats = 1 << 17;  // of the Q of a group

Source source_of(const SvdSmallBatch& batch, bool transposed) {
  return {batch.A, batch.dtype, batch.matrix_stride,
          transposed ? batch.col_stride : batch.row_stride,
          transposed ? batch.row_stride : batch.col_stride};
}

// Longer columns are cheaper to turn once they have become those of R.
bool goes_by_qr(int64_t m, int64_t n) {
  return n > 0 && m > (n <= kLanesLargest ? kTallFrom * n : n);
}

int64_t core_floats(int64_t m, int64_t n) {
  return n <= kLanesLargest ? SvdLanes::floats(m, n) : SvdRows::floats(m, n);
}

// kByLeft: the largest entry of each left vector becomes positive; kNotYet: later, or by the
// caller.
enum Signs { kByLeft, kNotYet };

void decompose_lanes(const SvdSmallBatch& batch, bool transposed, Signs signs, float* scratch) {
  const int64_t m = transposed ? batch.n : batch.m, n = transposed ? batch.m : batch.n;
  const SvdLanes group(m, n, scratch);
  const Source source = source_of(batch, transposed);
  with_type(batch.A, batch.dtype,
            [&](auto* data) { read_matrices(data, source, batch.count, m, n, group.A); });
  Lanes lanes;
  group.run(batch.count, lanes);
  if (signs == kByLeft) group.sign(transposed);
  group.write(batch.count, lanes, batch.U, batch.S, batch.Vh, transposed);
  for (int64_t l = 0; l < batch.count; ++l) batch.info[l] = lanes.info[l];
}

void fill_nan(float* data, int64_t count) {
  for (int64_t i = 0; i < count; ++i) data[i] = __builtin_nanf("");
}

void decompose_one(const SvdSmallBatch& batch, bool transposed, Signs, float* scratch) {
  const int64_t m = transposed ? batch.n : batch.m, n = transposed ? batch.m : batch.n;
  SvdRows matrix(m, n, scratch);
  const Source source = source_of(batch, transposed);
  with_type(batch.A, batch.dtype,
            [&](auto* data) { matrix.read(data, source.row_stride, source.col_stride); });
  batch.info[0] = matrix.run();
  if (batch.info[0] == kNonFinite) {
    fill_nan(batch.U, batch.m * n);
    fill_nan(batch.S, n);
    fill_nan(batch.Vh, n * batch.n);
  } else {
    matrix.write(batch.U, batch.S, batch.Vh, transposed);
  }
}

void decompose_core(const SvdSmallBatch& batch, bool transposed, Signs signs, float* scratch) {
  const int64_t n = transposed ? batch.m : batch.n;
  (n <= kLanesLargest ? decompose_lanes : decompose_one)(batch, transposed, signs, scratch);
}

void decompose_tall(const SvdSmallBatch& batch, bool transposed, float* scratch) {
  const int64_t m = transposed ? batch.n : batch.m, n = transposed ? batch.m : batch.n;
  const int64_t group = sk_svd_small_group(m, n);
  const Source source = source_of(batch, transposed);
  TallGroup tall(m, n, group, transposed, scratch + TallGroup::lines(core_floats(n, n)));
  tall.factor(batch, source.row_stride, source.col_stride);

  // Transposed: R^T = V S U_R^T, of which the left vectors are U and U_R^T makes Vh.
  SvdSmallBatch core = batch;
  core.A = tall.R;
  core.dtype = kFloat32;
  core.m = core.n = n;
  core.row_stride = transposed ? 1 : n;
  core.col_stride = transposed ? n : 1;
  core.matrix_stride = n * n;
  (transposed ? core.Vh : core.U) = tall.U;
  decompose_core(core, transposed, transposed ? kByLeft : kNotYet, scratch);
  for (int64_t l = 0; l < batch.count; ++l) {
    if (transposed) {
      multiply_transposed(tall.Q + l * m * n, m, n, tall.U + l * n * n, batch.Vh + l * n * m);
    } else {
      tall.expand(batch, l, source.row_stride, source.col_stride);
    }
    const Scale down(-tall.lift[l]);
    for (int64_t j = 0; j < n; ++j) {
      batch.S[l * n + j] = batch.S[l * n + j] * down.first * down.second;
    }
  }
  if (batch.streams) stream_fence();
}

}  // namespace

int64_t sk_svd_small_group(int64_t m, int64_t n) {
  if (n > kLanesLargest) return 1;
  if (!goes_by_qr(m, n)) return kWidth;
  // Q waits in the second-level cache for U_R; lanes that stay empty cost less than fetching it.
  const int64_t most = kGroupFloats / (m * n);
  return most < 1 ? 1 : smaller(most, int64_t{kWidth});
}

int64_t sk_svd_small_scratch(int64_t m, int64_t n) {
  if (!goes_by_qr(m, n)) return 4 * core_floats(m, n);
  return 4 *
         (TallGroup::lines(core_floats(n, n)) + TallGroup::floats(m, n, sk_svd_small_group(m, n)));
}

void sk_svd_small_block(const SvdSmallBatch& batch, bool transposed, void* scratch) {
  float* const memory = static_cast<float*>(scratch);
  if (goes_by_qr(transposed ? batch.n : batch.m, transposed ? batch.m : batch.n)) {
    decompose_tall(batch, transposed, memory);
  } else {
    decompose_core(batch, transposed, kByLeft, memory);
  }
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
