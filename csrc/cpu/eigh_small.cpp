// Eigen-decomposition of a block of symmetric matrices on one thread.
#include "eigh_small_lanes.h"
#include "eigh_small_rows.h"
#include "kernels.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

// The lower triangle alone: what lies above it may be anything.
template <class T>
void read_lower(const T* data, const EighSmallBatch& batch, const Columns& X) {
  for (int64_t j = 0; j < batch.n; ++j) {
    for (int64_t i = j; i < batch.n; ++i) {
      float lanes[kWidth] = {};
      const T* x = data + i * batch.row_stride + j * batch.col_stride;
      for (int64_t l = 0; l < batch.count; ++l) {
        store(lanes + l, load(x + l * batch.matrix_stride, First{1}), First{1});
      }
      put(X[j], i, load(lanes, All{}));
    }
  }
}

void decompose_lanes(const EighSmallBatch& batch, float* scratch) {
  const EighLanes group(batch.n, scratch);
  const Source source{batch.C, batch.dtype, batch.matrix_stride, batch.row_stride,
                      batch.col_stride};
  with_type(batch.C, batch.dtype, [&](auto* data) {
    // A block of memory is read whole, its upper triangle then overwritten by the lower.
    const bool block = (batch.col_stride == 1 && batch.row_stride == batch.n) ||
                       (batch.row_stride == 1 && batch.col_stride == batch.n);
    block ? read_matrices(data, source, batch.count, batch.n, batch.n, group.X)
          : read_lower(data, batch, group.X);
  });
  Lanes lanes;
  group.run(batch.count, lanes);
  group.write(batch.count, lanes, batch.w, batch.V);
  for (int64_t l = 0; l < batch.count; ++l) batch.info[l] = lanes.info[l];
}

void decompose_one(const EighSmallBatch& batch, float* scratch) {
  EighRows matrix(batch.n, scratch);
  with_type(batch.C, batch.dtype,
            [&](auto* data) { matrix.read(data, batch.row_stride, batch.col_stride); });
  batch.info[0] = matrix.run();
  if (batch.info[0] == kNonFinite) {
    for (int64_t i = 0; i < batch.n; ++i) batch.w[i] = __builtin_nanf("");
    for (int64_t i = 0; i < batch.n * batch.n; ++i) batch.V[i] = __builtin_nanf("");
  } else {
    matrix.write(batch.w, batch.V);
  }
}

}  // namespace

int64_t sk_eigh_small_group(int64_t n) { return n <= kLanesLargest ? kWidth : 1; }

int64_t sk_eigh_small_scratch(int64_t n) {
  return 4 * (n <= kLanesLargest ? EighLanes::floats(n) : EighRows::floats(n));
}

void sk_eigh_small_block(const EighSmallBatch& batch, void* scratch) {
  const auto decompose = batch.n <= kLanesLargest ? decompose_lanes : decompose_one;
  decompose(batch, static_cast<float*>(scratch));
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
