// Runs every kernel on buffers of exactly the size they need, for the sanitizers to watch.
// Prints the number of launches; wrong values are other tests' business.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "subkern/cuda/adam.h"
#include "subkern/cuda/cg_step.h"
#include "subkern/cuda/combine.h"
#include "subkern/cuda/eigh_small.h"
#include "subkern/cuda/group_dot.h"
#include "subkern/cuda/kth_largest.h"
#include "subkern/cuda/lowrank_adam.h"
#include "subkern/cuda/orthonormalize.h"
#include "subkern/cuda/packed_adamw.h"
#include "subkern/cuda/sample_without_replacement.h"
#include "subkern/cuda/sense_normal.h"
#include "subkern/cuda/sst_adamw.h"
#include "subkern/cuda/svd_small.h"
#include "subkern/cuda/update_mask.h"

extern "C" void sk_emu_set_seed(uint64_t seed);

namespace {

using namespace subkern;

// A block of its own on the heap, 16-byte aligned; `offset` elements of it are in front.
class Buffer {
 public:
  Buffer(int64_t bytes, int64_t offset_bytes = 0, float fill = 0.5f)
      : memory_(std::malloc(bytes + offset_bytes)), offset_(offset_bytes) {
    std::memset(at<char>(), 0, bytes);
    for (int64_t i = 0; i + 4 <= bytes; i += 4) std::memcpy(at<char>() + i, &fill, 4);
  }
  ~Buffer() { std::free(memory_); }
  Buffer(Buffer&& other) : memory_(other.memory_), offset_(other.offset_) {
    other.memory_ = nullptr;
  }
  template <class T>
  T* at() const {
    return reinterpret_cast<T*>(static_cast<char*>(memory_) + offset_);
  }

 private:
  void* memory_;
  int64_t offset_;
};

void expect(int status) {
  if (status != 0) std::abort();
}

CudaAdamOptions options(bool skip) {
  return {0.1, nullptr, 0.9, 0.99, 1e-6, 0.1, true, true, skip};
}

int64_t run_adam(const std::vector<int64_t>& numel, Dtype dtype, int offset, bool skip) {
  const int64_t item = dtype == kFloat32 ? 4 : 2, count = static_cast<int64_t>(numel.size());
  std::vector<Buffer> kept;
  std::vector<void*> W;
  std::vector<const void*> G;
  std::vector<float*> M, V, step, skipped;
  const auto keep = [&](int64_t bytes, int64_t in_front) -> const Buffer& {
    kept.emplace_back(bytes, in_front);
    return kept.back();
  };
  for (const int64_t n : numel) {
    W.push_back(keep(n * item, offset * item).at<void>());
    G.push_back(keep(n * item, offset * item).at<void>());
    M.push_back(keep(n * 4, offset * 4).at<float>());
    V.push_back(keep(n * 4, offset * 4).at<float>());
    step.push_back(keep(4, 0).at<float>());
    skipped.push_back(keep(4, 0).at<float>());
  }
  const Buffer scratch(cuda_adam_workspace(count, numel.data()));
  const AdamList list{count,       W.data(),       G.data(),     M.data(), V.data(),
                      step.data(), skipped.data(), numel.data(), dtype};
  int64_t launches[2] = {0, 0};
  expect(cuda_adam(list, options(skip), scratch.at<void>(), {0, nullptr}, launches));
  return launches[0] + launches[1];
}

int64_t run_moments(int64_t rows, int64_t cols, int axis, Rule rule, Dtype dtype, bool matrix,
                    int offset) {
  const int64_t count = 3, slices = 2, tiles = 7, ld = (cols + 7) / 8 * 8;
  const int64_t item = dtype == kFloat32 ? 4 : 2, columns = axis == 1 ? cols : rows;
  std::vector<Buffer> kept;
  std::vector<float*> M, V, step, limiter;
  const auto keep = [&](int64_t bytes, int64_t in_front) {
    kept.emplace_back(bytes, in_front);
    return kept.back().at<float>();
  };
  for (int64_t p = 0; p < count; ++p) {
    M.push_back(keep(rows * cols * 4, offset * 4));
    V.push_back(keep(rows * cols * 4, offset * 4));
    step.push_back(keep(4, 0));
    limiter.push_back(keep(4, 0));
  }
  const Buffer partials(slices * count * rows * ld * 4), squares(slices * count * columns * 4);
  const Buffer flags(count * tiles * 4, 0, 0.0f), counters(count * 4, 0, 0.0f);
  const Buffer direction(count * rows * ld * item), lowrank(count * rows * ld * item);
  const Buffer phi(count * columns * 4), scalars(count * 4 * 4);
  const Buffer sums(cuda_moments_block_sums(count, rows, cols, axis, rule) * 4);
  flags.at<int32_t>()[tiles] = 1;  // skips the second parameter
  CudaMomentsChunk c{};
  c.count = count, c.rows = rows, c.cols = cols, c.ld = ld, c.column_axis = axis;
  c.exp_avg = M.data(), c.exp_avg_sq = V.data(), c.step = step.data();
  c.dtype = dtype, c.rule = rule, c.scale = 0.25;
  c.partials = partials.at<float>(), c.slices = slices;
  c.tile_flags = flags.at<int32_t>(), c.tiles = tiles;
  c.direction = direction.at<void>(), c.scalars = scalars.at<float>();
  if (rule == kFira) {  // GaLore gets null pointers
    c.limiter = limiter.data(), c.lowrank = lowrank.at<void>();
    c.squares = squares.at<float>(), c.square_slices = slices, c.columns = columns;
    c.counters = counters.at<int32_t>(), c.phi = phi.at<float>();
    c.block_sums = sums.at<float>();
    c.gamma = 1.01, c.norm_eps = 1e-8, c.residual_scale = 0.25, c.matrix_norm = matrix;
  }
  int64_t launches = 0;
  expect(cuda_lowrank_adam_moments(c, options(true), {0, nullptr}, &launches));
  return launches;
}

// Matrices for the decompositions: the second is all zeros, so that repair and completion run too.
Buffer matrices(int64_t rows, int64_t cols, Dtype dtype, int offset) {
  const int64_t item = dtype == kFloat32 ? 4 : 2, count = rows * cols;
  Buffer buffer(2 * count * item, offset * item, 0.0f);
  uint32_t state = 1;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    const float x = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if (dtype == kFloat32) {
      buffer.at<float>()[i] = x;
    } else {
      buffer.at<uint16_t>()[i] = static_cast<uint16_t>(bits >> 16);
    }
  }
  return buffer;
}

int64_t run_svd(int64_t m, int64_t n, Dtype dtype, int offset) {
  const int64_t k = m < n ? m : n;
  const Buffer A = matrices(m, n, dtype, offset);
  const Buffer U(2 * m * k * 4), S(2 * k * 4), Vh(2 * k * n * 4), info(2 * 4);
  int64_t launches = 0;
  expect(cuda_svd_small({A.at<void>(), dtype, 2, m, n, m * n, n, 1, U.at<float>(), S.at<float>(),
                         Vh.at<float>(), info.at<int32_t>()},
                        {0, nullptr}, &launches));
  return launches;
}

int64_t run_eigh(int64_t n, Dtype dtype, int offset) {
  const Buffer C = matrices(n, n, dtype, offset);
  const Buffer w(2 * n * 4), V(2 * n * n * 4), info(2 * 4);
  int64_t launches = 0;
  expect(cuda_eigh_small(
      {C.at<void>(), dtype, 2, n, n * n, n, 1, w.at<float>(), V.at<float>(), info.at<int32_t>()},
      {0, nullptr}, &launches));
  return launches;
}

int64_t run_orthonormalize(int64_t m, int64_t k, Dtype dtype, int offset) {
  const Buffer Y = matrices(m, k, dtype, offset);
  const Buffer Q(2 * m * k * 4), R(2 * k * k * 4), info(2 * 4);
  const Buffer workspace(cuda_orthonormalize_workspace(2, m, k, 0));
  int64_t launches[2] = {0, 0};
  expect(cuda_orthonormalize({{Y.at<void>(), dtype, 2, m, k, m * k, k, 1},
                              Q.at<float>(),
                              R.at<float>(),
                              info.at<int32_t>(),
                              workspace.at<void>()},
                             {0, nullptr}, launches));
  return launches[0];
}

int64_t run_sample(int64_t n, int64_t k, Dtype dtype, bool sorted, int offset) {
  const Buffer weights = matrices(1, n, dtype, offset);  // one row of two is mostly negative
  const Buffer rows(2 * n * 5 * 4, 4 * offset), columns(n * 7 * 2, 2 * offset);
  const Buffer idx(2 * k * 8), info(2 * 4), out(2 * k * 5 * 4), other(2 * k * 7 * 2);
  const Buffer scratch(cuda_sample_workspace(2, n, k, sorted));
  float* const positive = weights.at<float>();
  for (int64_t i = 0; dtype == kFloat32 && i < n; ++i) positive[i] *= positive[i];
  const CudaSampleGather gathers[] = {{rows.at<void>(), out.at<void>(), 4, 5, n * 5, 5, 1},
                                      {columns.at<void>(), other.at<void>(), 2, 7, 0, 1, n}};
  int64_t launches = 0;
  expect(cuda_sample({weights.at<void>(), dtype, 2, n, k, n, 1, 2, sorted, idx.at<int64_t>(),
                      info.at<int32_t>(), gathers, 2, scratch.at<void>()},
                     {0, nullptr}, &launches));
  return launches;
}

// Values, then rows of unit vectors, one of them with an index outside its table.
int64_t run_sst(int64_t rows, int64_t n, Dtype dtype, int offset) {
  const int64_t item = dtype == kFloat32 ? 4 : 2, of_table = rows + 1;
  const Buffer S = matrices(1, rows, dtype, offset), dS = matrices(1, rows, dtype, offset);
  const Buffer x = matrices(rows, n, dtype, offset), dx = matrices(rows, n, dtype, offset);
  const Buffer table(of_table * n * item, offset * item), index(rows * 8), counters(2 * 4, 0, 0.0f);
  const Buffer m1(rows * 4, 4 * offset), v1(rows * 4, 4 * offset);
  const Buffer m2(rows * n * 4, 4 * offset), v2(rows * n * 4, 4 * offset), counts(4 * 4);
  for (int64_t i = 0; i < rows; ++i) index.at<int64_t>()[i] = rows - i;
  index.at<int64_t>()[0] = -1;
  void* const X[] = {S.at<void>(), x.at<void>()};
  const void* const G[] = {dS.at<void>(), dx.at<void>()};
  float* const M[] = {m1.at<float>(), m2.at<float>()};
  float* const V[] = {v1.at<float>(), v2.at<float>()};
  float* const step[] = {counts.at<float>(), counts.at<float>() + 1};
  float* const skipped[] = {counts.at<float>() + 2, counts.at<float>() + 3};
  void* const tables[] = {nullptr, table.at<void>()};
  const int64_t* const sampled[] = {nullptr, index.at<int64_t>()};
  const int64_t all_rows[] = {1, rows}, lengths[] = {rows, n}, table_rows[] = {0, of_table};
  int64_t launches = 0;
  expect(cuda_sst_adamw({{2, X, G, M, V, step, skipped, tables, sampled, all_rows, lengths, dtype},
                         table_rows,
                         counters.at<int32_t>()},
                        {0.1, nullptr, 10.0, 4.0, 0.9, 0.99, 1e-6, 0.1, 5, true}, {0, nullptr},
                        &launches));
  return launches;
}

// Of both parameters every other element is listed, and an index outside on either side.
int64_t run_packed(Dtype dtype, bool wide, bool packed, bool own, int offset) {
  const int64_t item = dtype == kFloat32 ? 4 : 2, size = wide ? 8 : 4;
  const int64_t numel[] = {2303, 5}, listed[] = {1151, 2};
  const unsigned char flags[] = {packed, packed}, owns[] = {own, own};
  std::vector<Buffer> kept;
  std::vector<void*> W;
  std::vector<const void*> G, indices;
  std::vector<float*> M, V, step;
  const auto keep = [&](int64_t bytes, int64_t in_front) -> const Buffer& {
    kept.emplace_back(bytes, in_front);
    return kept.back();
  };
  for (const int p : {0, 1}) {
    const int64_t n = listed[p];
    W.push_back(keep(numel[p] * item, offset * item).at<void>());
    G.push_back(keep((packed ? n : numel[p]) * item, offset * item).at<void>());
    M.push_back(keep(n * 4, offset * 4).at<float>());
    V.push_back(keep(n * 4, offset * 4).at<float>());
    step.push_back(keep(own ? n * 4 : 4, offset * 4).at<float>());
    const Buffer& at = keep(n * size, offset * size);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t index = i == 0 ? -1 : i == 1 ? numel[p] : 2 * i;
      if (wide) {
        at.at<int64_t>()[i] = index;
      } else {
        at.at<int32_t>()[i] = static_cast<int32_t>(index);
      }
    }
    indices.push_back(at.at<void>());
  }
  const Buffer counters(2 * 4, 0, 0.0f);
  int64_t launches = 0;
  expect(cuda_packed_adamw({{2, W.data(), G.data(), indices.data(), M.data(), V.data(), step.data(),
                             numel, listed, flags, owns, dtype, wide},
                            counters.at<int32_t>()},
                           {0.1, nullptr, 0.9, 0.99, 1e-6, 0.1}, {0, nullptr}, &launches));
  return launches;
}

int64_t run_kth(int64_t n, int64_t k, Dtype dtype, int offset) {
  const Buffer x = matrices(1, n, dtype, offset), value(4), above(8), equal(8);
  const Buffer scratch(cuda_kth_largest_workspace(), 0, 0.0f);
  int64_t launches = 0;
  expect(cuda_kth_largest({x.at<void>(), dtype, n, k, true, value.at<void>(), above.at<int64_t>(),
                           equal.at<int64_t>(), scratch.at<void>()},
                          {0, nullptr}, &launches));
  return launches;
}

// Few are inside: more are asked for than there are.
int64_t run_swap(int64_t n, int64_t swaps, Dtype dtype, int offset) {
  const Buffer remove = matrices(1, n, dtype, offset), add = matrices(1, n, dtype, offset);
  const Buffer mask(n, offset, 0.0f), updated(n, offset), removed(swaps * 8), added(swaps * 8);
  for (int64_t i = 0; i < n; i += 100) mask.at<uint8_t>()[i] = 1;
  const Buffer scratch(cuda_update_mask_workspace(n), 0, 0.0f);
  int64_t launches = 0;
  expect(cuda_update_mask(
      {remove.at<void>(), add.at<void>(), dtype, mask.at<uint8_t>(), n, swaps,
       updated.at<uint8_t>(), removed.at<int64_t>(), added.at<int64_t>(), scratch.at<void>()},
      {0, nullptr}, &launches));
  return launches;
}

// Two groups; the second is done.
int64_t run_vectors(int64_t n, int64_t m, int offset) {
  const auto keep = [&](int64_t count) { return Buffer(count * 4, 4 * offset); };
  const Buffer x = keep(2 * n), p = keep(2 * n), r = keep(2 * n), q = keep(2 * n);
  const Buffer V = keep(2 * m * n), out = keep(2 * n);
  const Buffer numbers(2 * 8), coefficients(2 * m * 8), state(2 * 10 * 8);
  const Buffer counters(2 * 4, 0, 0.0f), again(2 * 4, 0, 0.0f);
  const Buffer sums(cuda_group_dot_workspace(2, n));
  for (int i = 0; i < 20; ++i) state.at<double>()[i] = i == 6 ? -1.0 : 2.0;
  for (int64_t i = 0; i < 2 * m; ++i) coefficients.at<double>()[i] = 0.5;
  int64_t launches = 0;
  expect(cuda_group_dot({p.at<float>(), q.at<float>(), 2, n, numbers.at<double>(), sums.at<void>(),
                         counters.at<int32_t>()},
                        {0, nullptr}, &launches));
  expect(cuda_cg_step_residual({r.at<float>(), q.at<float>(), numbers.at<double>(),
                                state.at<double>(), 2, n, sums.at<void>(), again.at<int32_t>()},
                               {0, nullptr}, &launches));
  expect(cuda_cg_step_direction(
      {x.at<float>(), p.at<float>(), r.at<float>(), state.at<double>(), 2, n}, {0, nullptr},
      &launches));
  expect(cuda_combine(
      {x.at<float>(), V.at<float>(), coefficients.at<double>(), 2, m, n, out.at<float>()},
      {0, nullptr}, &launches));
  return launches;
}

// N and a solve of rows under a line mask, N alone under a plane one; maps of one image for all.
int64_t run_sense(bool line, int64_t images, int64_t coils, int64_t h, int64_t w) {
  const int64_t numbers = images * h * w, rows = images * h;
  const Buffer maps(coils * h * w * 8), v(numbers * 8), out(numbers * 8), gamma(images * 4);
  const Buffer weights((line ? 1 : h) * w * 4), dot(rows * 8), rr(rows * 8);
  const Buffer iterations(rows * 4), status(rows * 4);
  const Buffer packed(cuda_sense_pack_floats(line, 1, h, w) * 4);
  cuda_sense_pack(line, 1, h, w, weights.at<float>(), packed.at<float>());
  const CudaSenseMaps S{line, images, 1, 1, coils, h, w, maps.at<void>(), packed.at<float>()};
  const Buffer scratch(cuda_sense_workspace(S));
  int64_t launches = 0;
  expect(cuda_sense_normal(
      {S, v.at<void>(), gamma.at<float>(), out.at<void>(), dot.at<double>(), scratch.at<void>()},
      {0, nullptr}, &launches));
  if (!line) return launches;
  expect(
      cuda_sense_solve({S, v.at<void>(), v.at<void>(), gamma.at<float>(), true, 2, out.at<void>(),
                        rr.at<double>(), iterations.at<int32_t>(), status.at<int32_t>()},
                       {0, nullptr}, &launches));
  return launches;
}

}  // namespace

int main() {
  int64_t launches = 0;
  for (const uint64_t seed : {0, 1}) {
    sk_emu_set_seed(seed);
    for (const int offset : {0, 1}) {
      launches += run_vectors(5, 1, offset) + run_vectors(4100, 130, offset);
    }
    for (const int64_t w : {2, 12, 90}) {
      launches += run_sense(true, 2, 3, 5, w) + run_sense(false, 2, 3, 10, w);
    }
    launches += run_sense(true, 1, 40, 1, 320);  // more maps than shared memory keeps
    for (const Dtype dtype : {kFloat32, kBFloat16}) {
      for (const int offset : {0, 1, 4}) {
        for (const bool skip : {true, false}) {
          launches += run_adam({1, 0, 7, 64, 8193, 300}, dtype, offset, skip);
        }
      }
      launches +=
          run_adam(std::vector<int64_t>(cuda_adam_tensors_per_launch() + 1, 3), dtype, 0, true);
      const int64_t shapes[][2] = {{1, 1}, {3, 37}, {9, 64}, {70, 132}};
      for (const auto& [rows, cols] : shapes) {
        for (const int offset : {0, 1}) {
          launches += run_moments(rows, cols, 1, kGalore, dtype, false, offset);
          for (const int axis : {0, 1}) {
            for (const bool matrix : {false, true}) {
              launches += run_moments(rows, cols, axis, kFira, dtype, matrix, offset);
            }
          }
        }
      }
      // One alignment per order of the threads: the decompositions take most of the time.
      const int offset = static_cast<int>(seed);
      for (const int64_t side : {3, 8, 13, 21, 35}) {
        launches += run_svd(side, side, dtype, offset) + run_eigh(side, dtype, offset);
      }
      for (const int64_t cols : {3, 8, 13, 21}) {
        launches += run_svd(37, cols, dtype, offset) + run_svd(cols, 37, dtype, offset);
        launches += run_orthonormalize(37, cols, dtype, offset);
      }
      launches += run_orthonormalize(40, 35, dtype, offset);
      for (const bool sorted : {true, false}) {
        launches += run_sample(3, 3, dtype, sorted, offset);
        launches += run_sample(200, 70, dtype, sorted, offset);
      }
      launches += run_sst(3, 5, dtype, offset) + run_sst(2, 1032, dtype, 0);
      launches += run_sst(1, 12000, dtype, offset);
      launches += run_kth(8205, 700, dtype, offset) + run_kth(4097, 1, dtype, offset);
      launches += run_swap(8205, 700, dtype, offset) + run_swap(4097, 2, dtype, offset);
      for (const bool own : {true, false}) {
        launches += run_packed(dtype, own, !own, own, 0) + run_packed(dtype, !own, !own, own, 1);
      }
    }
  }
  std::printf("%lld\n", static_cast<long long>(launches));
  return 0;
}
