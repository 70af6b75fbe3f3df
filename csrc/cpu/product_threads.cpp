// The two products on threads: the basis is packed by all, then blocks of the other factor are
// handed out. The thread count decides the size of those blocks, never the order of a sum.
#include <omp.h>

#include "isa.h"
#include "subkern/product.h"
#include "work.h"

namespace subkern {
namespace {

constexpr int64_t kDepthBlock = 256;           // a strip of both factors fits the first-level cache
constexpr int64_t kBlockFloats = 1 << 17;      // a packed block leaves room in the second level
constexpr int64_t kAllBlocksFloats = 1 << 21;  // of all threads together
constexpr int64_t kAlign = 16;                 // floats of a cache line

int64_t rounded_up(int64_t n, int64_t step) { return blocks_of(n, step) * step; }

// Where everything lies, and how many indices of the streamed factor make a block.
struct Layout {
  int64_t packed_floats, block, blocks, thread_floats;
  int team;

  Layout(const Kernels& kernels, const ProductJob& job, int threads) {
    const int64_t basis_width = kernels.sk_product_strip(job.basis_gives_rows);
    const int64_t width = kernels.sk_product_strip(!job.basis_gives_rows);
    const double terms = static_cast<double>(job.basis.size + 8) * job.streamed.size *
                         std::max<int64_t>(1, job.depth);
    // A multiply-add costs an eighth of what moving an element does.
    team = team_for(static_cast<int64_t>(std::min(terms / 8, 1e15)), threads);
    packed_floats = rounded_up(rounded_up(job.basis.size, basis_width) * job.depth, kAlign);
    const int64_t depth = std::max<int64_t>(1, job.depth_block);
    const int64_t most = std::max(width, std::min(kBlockFloats, kAllBlocksFloats / team) / depth);
    // Equal blocks, as many for each thread.
    blocks = rounded_up(std::max<int64_t>(1, blocks_of(job.streamed.size, most)), team);
    block = rounded_up(std::max<int64_t>(1, blocks_of(job.streamed.size, blocks)), width);
    blocks = blocks_of(job.streamed.size, block);
    // One line more than a multiple of a page: threads then use different sets of the caches.
    thread_floats = rounded_up(block * (depth + 2), 1024) + kAlign;
  }

  int64_t floats() const { return kAlign + packed_floats + team * thread_floats; }
};

void run(ProductJob job, float* workspace, int threads) {
  const Kernels& kernels = active_kernels();
  const Layout layout(kernels, job, threads);
  const std::uintptr_t line = reinterpret_cast<std::uintptr_t>(workspace) / 4 % kAlign;
  job.packed = workspace + (line == 0 ? 0 : kAlign - line);
  float* const scratch = job.packed + layout.packed_floats;
  const int64_t width = kernels.sk_product_strip(job.basis_gives_rows);
  const int64_t strips = blocks_of(job.basis.size, width);
#pragma omp parallel num_threads(layout.team)
  {
#pragma omp for schedule(dynamic)
    for (int64_t strip = 0; strip < strips; ++strip) kernels.sk_product_pack_basis(job, strip);
    float* const mine = scratch + omp_get_thread_num() * layout.thread_floats;
#pragma omp for schedule(dynamic)
    for (int64_t b = 0; b < layout.blocks; ++b) {
      const int64_t from = b * layout.block, next = from + layout.team * layout.block;
      kernels.sk_product_block(job, from, std::min(layout.block, job.streamed.size - from), next,
                               std::min(layout.block, job.streamed.size - next), mine);
    }
  }
}

// P as a factor: indexed by its own columns, or by the elements of a canonical column.
Factor by_rank(const LowrankShape& shape, const Panel& P) {
  return {P.data, P.dtype, shape.rank, P.col_stride, P.row_stride};
}
Factor by_length(const LowrankShape& shape, const Panel& P) {
  return {P.data, P.dtype, shape.length(), P.row_stride, P.col_stride};
}

Panel transposed(const Panel& panel) {
  return {panel.data, panel.dtype, panel.col_stride, panel.row_stride};
}

ProductJob project_job(const LowrankShape& shape, const Panel& X, const Panel& P, float* R,
                       float* norms) {
  const bool left = shape.column_axis == 1;
  ProductJob job{};
  job.basis = by_rank(shape, P);
  job.streamed = {X.data, X.dtype, shape.columns(), left ? X.col_stride : X.row_stride,
                  left ? X.row_stride : X.col_stride};
  job.basis_gives_rows = left;
  job.depth = shape.length();
  const int64_t parts = std::max<int64_t>(1, blocks_of(job.depth, kDepthBlock));
  job.depth_block = blocks_of(job.depth, parts);
  job.C = {R, kFloat32, left ? shape.cols : shape.rank, 1};
  job.norms = norms;
  return job;
}

ProductJob update_job(const LowrankShape& shape, const Panel& W, const Panel& P, const float* D,
                      const Panel& X, const float* coef, double decay) {
  const bool left = shape.column_axis == 1;
  // The rows of C must be contiguous: W^T takes the factors in the other order.
  const bool flipped = W.col_stride != 1 && W.row_stride == 1;
  ProductJob job{};
  job.basis = by_length(shape, P);
  job.streamed = {D, kFloat32, shape.columns(), left ? 1 : shape.rank, left ? shape.cols : 1};
  job.basis_gives_rows = left != flipped;
  job.depth = job.depth_block = shape.rank;  // whole sums, so that W is rounded once
  job.update = true;
  job.C = flipped ? transposed(W) : W;
  job.X = flipped ? transposed(X) : X;
  job.coef = coef;
  job.coef_axis = flipped ? 1 - shape.column_axis : shape.column_axis;
  job.decay = static_cast<float>(decay);
  return job;
}

}  // namespace

int64_t lowrank_product_workspace(const LowrankShape& shape, int threads) {
  const Kernels& kernels = active_kernels();
  int64_t floats = Layout(kernels, project_job(shape, {}, {}, nullptr, nullptr), threads).floats();
  for (const bool by_rows : {false, true}) {  // W's layout decides which factor gives the rows
    ProductJob job = update_job(shape, {}, {}, nullptr, {}, nullptr, 1.0);
    job.basis_gives_rows = by_rows;
    floats = std::max(floats, Layout(kernels, job, threads).floats());
  }
  return floats;
}

void sk_lowrank_project(const LowrankShape& shape, const Panel& X, const Panel& P, float* R,
                        float* norms, float* workspace, int threads) {
  run(project_job(shape, X, P, R, norms), workspace, threads);
}

void sk_lowrank_update(const LowrankShape& shape, const Panel& W, const Panel& P, const float* D,
                       const Panel& X, const float* coef, double decay, float* workspace,
                       int threads) {
  if (shape.rows == 0 || shape.cols == 0) return;
  run(update_job(shape, W, P, D, X, coef, decay), workspace, threads);
}

}  // namespace subkern
