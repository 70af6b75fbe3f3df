// The public entry points: pick the variant, cut the work into fixed blocks, run them on threads.
// Blocks never depend on the thread count and every sum has one owner, so results do not either.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "isa.h"
#include "kernels.h"

namespace subkern {

#define SUBKERN_ENTRY(result, name, arguments) result(*name) arguments;
#define SUBKERN_NAME(result, name, arguments) name,

namespace {
struct Kernels {
  SUBKERN_KERNELS(SUBKERN_ENTRY)
};
}  // namespace

#define SUBKERN_VARIANT(isa)                                     \
  namespace isa {                                                \
  SUBKERN_KERNELS(SUBKERN_DECLARE)                               \
  static const Kernels kTable = {SUBKERN_KERNELS(SUBKERN_NAME)}; \
  }

SUBKERN_VARIANT(generic)
#if defined(__x86_64__)
SUBKERN_VARIANT(avx2)
SUBKERN_VARIANT(avx512)
#endif

namespace {

const Kernels& active_kernels() {
  switch (active_isa()) {
#if defined(__x86_64__)
    case kAvx512:
      return avx512::kTable;
    case kAvx2:
      return avx2::kTable;
#endif
    default:
      return generic::kTable;
  }
}

constexpr int64_t kBlock = 16384;         // elements of a contiguous block
constexpr int64_t kWave = int64_t{1} << 19;  // elements whose gradients stay in cache after a check
constexpr int64_t kColumnBlock = 256;     // columns of a block that sums over rows
constexpr int64_t kThreadWorth = 32768;   // elements that repay waking a thread

int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

// Rows of a contiguous block, at least one.
int64_t rows_per_block(int64_t cols) { return std::max<int64_t>(1, kBlock / std::max<int64_t>(1, cols)); }

int team_for(int64_t elements, int threads) {
  return static_cast<int>(std::min<int64_t>(threads, 1 + elements / kThreadWorth));
}

const void* at(const void* data, Dtype dtype, int64_t index) {
  return static_cast<const char*>(data) + index * (dtype == kFloat32 ? 4 : 2);
}
void* at(void* data, Dtype dtype, int64_t index) {
  return static_cast<char*>(data) + index * (dtype == kFloat32 ? 4 : 2);
}

// Numbers the blocks of several parameters consecutively.
class Tasks {
 public:
  void add(int64_t blocks) { ends_.push_back(total() + blocks); }
  int64_t total() const { return ends_.empty() ? 0 : ends_.back(); }
  // (position of the parameter, block within it)
  std::pair<int64_t, int64_t> find(int64_t task) const {
    const auto end = std::upper_bound(ends_.begin(), ends_.end(), task);
    const int64_t p = end - ends_.begin();
    return {p, task - (p == 0 ? 0 : ends_[p - 1])};
  }

 private:
  std::vector<int64_t> ends_;
};

// Consecutive parameters handled together: all checked, then all updated.
struct Wave {
  int64_t begin, end;
  Tasks blocks;  // contiguous blocks of kBlock elements
};

std::vector<Wave> make_waves(int64_t count, const int64_t* numel, int64_t same_numel) {
  std::vector<Wave> waves;
  int64_t filled = 0;
  for (int64_t p = 0; p < count; ++p) {
    const int64_t n = numel != nullptr ? numel[p] : same_numel;
    if (waves.empty() || filled + n > kWave) {
      waves.push_back({p, p, {}});
      filled = 0;
    }
    waves.back().end = p + 1;
    waves.back().blocks.add(blocks_of(n, kBlock));
    filled += n;
  }
  return waves;
}

AdamConstants constants_of(const AdamOptions& o) {
  return {static_cast<float>(o.beta1), static_cast<float>(1.0 - o.beta1),
          static_cast<float>(o.beta2), static_cast<float>(1.0 - o.beta2),
          static_cast<float>(o.eps)};
}

// Counts the step and returns eta * update_scale.
double start_step(const AdamOptions& o, float* step) {
  *step += 1.0f;
  double eta = o.lr;
  if (o.correct_bias) {
    const double t = *step;
    eta *= std::sqrt(1.0 - std::pow(o.beta2, t)) / (1.0 - std::pow(o.beta1, t));
  }
  return eta * o.update_scale;
}

// One parameter list as the gradient check and the step counters see it.
struct Gradients {
  const void* const* data;
  Dtype dtype;
  const int64_t* numel;  // or nullptr and same_numel
  int64_t same_numel;
  float* const* step;
  float* const* skipped;
  unsigned char* flags;
  double* eta;  // out: eta * update_scale

  int64_t size(int64_t p) const { return numel != nullptr ? numel[p] : same_numel; }
};

// Inside a parallel region: checks a wave, then counts its steps. Ends with a barrier.
void open_wave(const Kernels& kernels, const Gradients& g, const AdamOptions& options,
               const Wave& wave) {
  if (options.skip_nonfinite) {
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < wave.blocks.total(); ++task) {
      const auto [position, block] = wave.blocks.find(task);
      const int64_t p = wave.begin + position, from = block * kBlock;
      const int64_t n = std::min(kBlock, g.size(p) - from);
      if (kernels.sk_has_nonfinite(at(g.data[p], g.dtype, from), g.dtype, n)) {
#pragma omp atomic write
        g.flags[p] = 1;
      }
    }
  }
#pragma omp single
  for (int64_t p = wave.begin; p < wave.end; ++p) {
    if (g.flags[p]) {
      *g.skipped[p] += 1.0f;
    } else {
      g.eta[p] = start_step(options, g.step[p]);
    }
  }
}

// Checks each wave and calls update(p, first element, elements) for its blocks, the last checked
// first: those are still in cache.
template <class Update>
void walk(const Kernels& kernels, const Gradients& g, const AdamOptions& options, int64_t count,
          const Update& update) {
  const std::vector<Wave> waves = make_waves(count, g.numel, g.same_numel);
  int64_t elements = 0;
  for (int64_t p = 0; p < count; ++p) elements += g.size(p);
#pragma omp parallel num_threads(team_for(elements, options.threads))
  for (const Wave& wave : waves) {
    open_wave(kernels, g, options, wave);
    const int64_t total = wave.blocks.total();
#pragma omp for schedule(dynamic) nowait
    for (int64_t task = 0; task < total; ++task) {
      const auto [position, block] = wave.blocks.find(total - 1 - task);
      const int64_t p = wave.begin + position, from = block * kBlock;
      if (!g.flags[p]) update(p, from, std::min(kBlock, g.size(p) - from));
    }
  }
}

// The Fira part of a chunk: where each parameter's sums lie and how they become coefficients.
class FiraSums {
 public:
  FiraSums(const LowrankAdamChunk& c)
      : c_(c),
        r_columns(c.column_axis == 1 ? c.cols : c.rows),
        x_columns(c.column_axis == 1 ? c.x_cols : c.x_rows) {}

  float* nn(int64_t p) const { return c_.workspace + p * (2 * r_columns + x_columns); }
  float* rr(int64_t p) const { return nn(p) + r_columns; }
  float* xx(int64_t p) const { return rr(p) + r_columns; }

  // phi, residual energy, limiter; writes coef.
  void finish(int64_t p, double eta) const {
    const double a = c_.residual_scale;
    float* coef = c_.coef[p];
    double energy = 0.0;  // s_t^2
    double whole_phi = 0.0;
    if (c_.matrix_norm) {
      double n = 0.0, r = 0.0, x = 0.0;
      for (int64_t j = 0; j < r_columns; ++j) n += nn(p)[j];
      for (int64_t j = 0; j < r_columns; ++j) r += rr(p)[j];
      for (int64_t j = 0; j < x_columns; ++j) x += xx(p)[j];
      whole_phi = phi(n, r);
      energy = whole_phi * whole_phi * residual(x, r, a);
    } else {
      for (int64_t j = 0; j < x_columns; ++j) {
        const double f = phi(nn(p)[j], rr(p)[j]);
        energy += f * f * residual(xx(p)[j], rr(p)[j], a);
        coef[j] = static_cast<float>(f);
      }
    }
    const double factor = -eta * limit(c_.limiter[p], std::sqrt(energy));
    for (int64_t j = 0; j < x_columns; ++j) {
      coef[j] = static_cast<float>(factor * (c_.matrix_norm ? whole_phi : coef[j]));
    }
  }

 private:
  double phi(double nn, double rr) const {
    return rr == 0.0 ? 0.0 : std::sqrt(nn) / (std::sqrt(rr) + c_.norm_eps);
  }

  // |X_j - a P R_j|^2 for an orthonormal basis; round-off counts as zero, NaN passes.
  static double residual(double xx, double rr, double a) {
    const double rho2 = xx - 2.0 * a * rr + a * a * rr;
    return rho2 < 1e-6 * xx || rho2 < 0.0 ? 0.0 : rho2;
  }

  // The factor on the residual; remembers the norm that was let through.
  double limit(float* previous, double norm) const {
    if (*previous <= 0.0f) {
      *previous = static_cast<float>(norm);
      return 1.0;
    }
    const double growth = norm / (*previous + c_.norm_eps);
    const double excess = (growth < c_.gamma ? c_.gamma : growth) / c_.gamma;
    *previous = static_cast<float>(norm / excess);
    return 1.0 / excess;
  }

  const LowrankAdamChunk& c_;

 public:
  const int64_t r_columns;
  const int64_t x_columns;
};

// A run of canonical columns of parameter p: its moments and sums of R, or its norms of X.
class FiraBlocks {
 public:
  FiraBlocks(const Kernels& kernels, const LowrankAdamChunk& c, const FiraSums& sums,
             const AdamConstants& adam)
      : kernels_(kernels), c_(c), sums_(sums), adam_(adam) {
    const bool by_column = c.column_axis == 1;
    x_len_ = by_column ? c.x_rows : c.x_cols;
    x_stride_ = by_column ? c.x_row_stride : c.x_col_stride;
    x_column_stride_ = by_column ? c.x_col_stride : c.x_row_stride;
    r_block_ = by_column ? kColumnBlock : rows_per_block(c.cols);
    x_block_ = x_column_stride_ == 1 ? kColumnBlock : rows_per_block(x_len_);
    x_block_ = std::min(x_block_, std::max<int64_t>(1, sums.x_columns));
    r_tasks_ = blocks_of(sums.r_columns, r_block_);
    tasks_ = r_tasks_ + blocks_of(sums.x_columns, x_block_);
  }

  int64_t tasks() const { return tasks_; }

  void run(int64_t p, int64_t task) const {
    if (task < r_tasks_) {
      moments(p, task * r_block_, std::min(r_block_, sums_.r_columns - task * r_block_));
    } else {
      const int64_t from = (task - r_tasks_) * x_block_;
      norms(p, from, std::min(x_block_, sums_.x_columns - from));
    }
  }

 private:
  void moments(int64_t p, int64_t from, int64_t columns) const {
    const bool by_column = c_.column_axis == 1;
    const int64_t offset = by_column ? from : from * c_.cols;
    const MomentsBlock block{at(c_.R[p], c_.r_dtype, offset),
                             c_.r_dtype,
                             c_.exp_avg[p] + offset,
                             c_.exp_avg_sq[p] + offset,
                             by_column ? c_.rows : columns,
                             by_column ? columns : c_.cols,
                             c_.cols};
    (by_column ? kernels_.sk_moments_cols : kernels_.sk_moments_rows)(
        block, adam_, sums_.nn(p) + from, sums_.rr(p) + from);
  }

  void norms(int64_t p, int64_t from, int64_t columns) const {
    const ColumnsBlock block{at(c_.X[p], c_.x_dtype, from * x_column_stride_),
                             c_.x_dtype,
                             x_len_,
                             x_stride_,
                             columns,
                             x_column_stride_};
    kernels_.sk_column_norms(block, sums_.xx(p) + from);
  }

  const Kernels& kernels_;
  const LowrankAdamChunk& c_;
  const FiraSums& sums_;
  const AdamConstants adam_;
  int64_t x_len_, x_stride_, x_column_stride_;
  int64_t r_block_, x_block_, r_tasks_, tasks_;
};

void moments_fira(const Kernels& kernels, const Gradients& g, const LowrankAdamChunk& c,
                  const AdamOptions& options) {
  const AdamConstants adam = constants_of(options);
  const FiraSums sums(c);
  const FiraBlocks columns(kernels, c, sums, adam);
  const int64_t row_block = rows_per_block(c.cols), bands = blocks_of(c.rows, row_block);
  const std::vector<Wave> waves = make_waves(c.count, nullptr, c.rows * c.cols);
  const int64_t elements = c.count * (c.rows * c.cols + c.x_rows * c.x_cols);

  const auto direction = [&](int64_t p, int64_t band) {
    const int64_t from = band * row_block, offset = from * c.cols;
    const MomentsBlock block{at(c.R[p], c.r_dtype, offset),
                             c.r_dtype,
                             c.exp_avg[p] + offset,
                             c.exp_avg_sq[p] + offset,
                             std::min(row_block, c.rows - from),
                             c.cols,
                             c.cols};
    const bool by_column = c.column_axis == 1 && !c.matrix_norm;
    const float* row_coef = c.coef[p] + (c.matrix_norm ? 0 : from);
    kernels.sk_fira_direction(block, adam.eps, static_cast<float>(-g.eta[p] * c.scale),
                              static_cast<float>(-c.residual_scale),
                              by_column ? c.coef[p] : nullptr, row_coef, c.matrix_norm ? 0 : 1);
  };

#pragma omp parallel num_threads(team_for(elements, options.threads))
  for (const Wave& wave : waves) {
    open_wave(kernels, g, options, wave);
    const int64_t width = wave.end - wave.begin;
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < width * columns.tasks(); ++task) {
      const int64_t p = wave.begin + task / columns.tasks();
      if (!g.flags[p]) columns.run(p, task % columns.tasks());
    }
#pragma omp for schedule(dynamic)
    for (int64_t p = wave.begin; p < wave.end; ++p) {
      if (!g.flags[p]) sums.finish(p, g.eta[p]);
    }
#pragma omp for schedule(dynamic) nowait
    for (int64_t task = 0; task < width * bands; ++task) {
      const int64_t p = wave.begin + task / bands;
      if (!g.flags[p]) direction(p, task % bands);
    }
  }
}

}  // namespace

void sk_adam(const AdamList& list, const AdamOptions& options, unsigned char* flags) {
  const Kernels& kernels = active_kernels();
  std::fill(flags, flags + list.count, 0);
  std::vector<double> eta(list.count);
  const Gradients g{list.G,    list.dtype,   list.numel, 0,
                    list.step, list.skipped, flags,      eta.data()};
  const AdamConstants adam = constants_of(options);
  const float decay = static_cast<float>(options.decay);
  walk(kernels, g, options, list.count, [&](int64_t p, int64_t from, int64_t n) {
    kernels.sk_adam_block(at(list.W[p], list.dtype, from), at(list.G[p], list.dtype, from),
                          list.dtype, list.exp_avg[p] + from, list.exp_avg_sq[p] + from, n, adam,
                          decay, static_cast<float>(-eta[p]));
  });
}

int64_t lowrank_adam_workspace(int64_t count, int64_t rows, int64_t cols, int column_axis,
                               int64_t x_rows, int64_t x_cols, Rule rule) {
  if (rule == kGalore) return 0;
  return count * (column_axis == 1 ? 2 * cols + x_cols : 2 * rows + x_rows);
}

void sk_lowrank_adam_moments(const LowrankAdamChunk& c, const AdamOptions& options,
                             unsigned char* flags) {
  const Kernels& kernels = active_kernels();
  std::fill(flags, flags + c.count, 0);
  std::vector<double> eta(c.count);
  const Gradients g{c.R,    c.r_dtype, nullptr, c.rows * c.cols,
                    c.step, c.skipped, flags,   eta.data()};
  if (c.rule == kFira && !c.skip_residual) {
    moments_fira(kernels, g, c, options);
    return;
  }
  const AdamConstants adam = constants_of(options);
  walk(kernels, g, options, c.count, [&](int64_t p, int64_t from, int64_t n) {
    kernels.sk_galore_block(at(c.R[p], c.r_dtype, from), c.r_dtype, c.exp_avg[p] + from,
                            c.exp_avg_sq[p] + from, n, adam,
                            static_cast<float>(-eta[p] * c.scale));
  });
  if (c.rule == kFira) {
    const int64_t columns = c.column_axis == 1 ? c.x_cols : c.x_rows;
    for (int64_t p = 0; p < c.count; ++p) {
      if (!flags[p]) std::fill(c.coef[p], c.coef[p] + columns, 0.0f);
    }
  }
}

void sk_lowrank_adam_apply(const Panel& W, const Panel& T, const Panel& X, const float* coef,
                           int coef_axis, int64_t rows, int64_t cols, double decay, int threads) {
  const Kernels& kernels = active_kernels();
  if (rows == 0 || cols == 0) return;
  ApplyBlock whole{W, T, X, coef, coef_axis, rows, cols, static_cast<float>(decay)};
  Panel* const panels[] = {&whole.W, &whole.T, &whole.X};
  const auto unit_rows = [](const Panel* panel) {
    return panel->data == nullptr || panel->row_stride == 1;
  };
  if (W.col_stride != 1 && std::all_of(panels, panels + 3, unit_rows)) {
    std::swap(whole.rows, whole.cols);
    whole.coef_axis = 1 - coef_axis;
    for (Panel* panel : panels) std::swap(panel->row_stride, panel->col_stride);
  }
  const int64_t block_rows = rows_per_block(whole.cols);
#pragma omp parallel for schedule(dynamic) num_threads(team_for(rows* cols, threads))
  for (int64_t band = 0; band < blocks_of(whole.rows, block_rows); ++band) {
    ApplyBlock block = whole;
    const int64_t from = band * block_rows;
    block.rows = std::min(block_rows, whole.rows - from);
    for (Panel* panel : {&block.W, &block.T, &block.X}) {
      if (panel->data != nullptr) {
        panel->data = at(panel->data, panel->dtype, from * panel->row_stride);
      }
    }
    if (coef != nullptr && block.coef_axis == 0) block.coef = coef + from;
    kernels.sk_apply_block(block);
  }
}

void sk_gemm(const Gemm& gemm, int threads) {
  const Kernels& kernels = active_kernels();
  if (gemm.m == 0 || gemm.n == 0) return;
  Gemm g = gemm;
  if (g.n <= 2 && g.n < g.m) {  // C^T = B^T A^T keeps the long side in the vectors
    std::swap(g.A, g.B);
    std::swap(g.m, g.n);
    std::swap(g.c_row_stride, g.c_col_stride);
    std::swap(g.a_row_stride, g.b_col_stride);
    std::swap(g.a_col_stride, g.b_row_stride);
  }
  const int64_t down = blocks_of(g.m, kGemmRows), across = blocks_of(g.n, kGemmCols);
  const int64_t work = g.m * g.n * std::max<int64_t>(1, g.k) / 8;  // a product is cheaper to feed
#pragma omp parallel for schedule(dynamic) num_threads(team_for(work, threads))
  for (int64_t tile = 0; tile < down * across; ++tile) {
    const int64_t i = tile % down * kGemmRows, j = tile / down * kGemmCols;
    kernels.sk_gemm_tile(g, i, std::min(kGemmRows, g.m - i), j, std::min(kGemmCols, g.n - j));
  }
}

}  // namespace subkern
