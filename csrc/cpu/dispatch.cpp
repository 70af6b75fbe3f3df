// The public entry points: pick the variant, cut the work into fixed blocks, run them on threads.
// Blocks never depend on the thread count and every sum has one owner, so results do not either.
#include <algorithm>
#include <cmath>
#include <vector>

#include "fira_tiles.h"
#include "isa.h"
#include "kernels.h"
#include "pipeline.h"
#include "tasks.h"
#include "work.h"

namespace subkern {

#define SUBKERN_NAME(result, name, arguments) name,

#define SUBKERN_VARIANT(isa)                                     \
  namespace isa {                                                \
  SUBKERN_KERNELS(SUBKERN_DECLARE)                               \
  static const Kernels kTable = {SUBKERN_KERNELS(SUBKERN_NAME)}; \
  }

SUBKERN_VARIANT(generic)
#if defined(SUBKERN_HAVE_AVX2)
SUBKERN_VARIANT(avx2)
#endif
#if defined(SUBKERN_HAVE_AVX512)
SUBKERN_VARIANT(avx512)
#endif

const Kernels& active_kernels() {
  switch (active_isa()) {
#if defined(SUBKERN_HAVE_AVX512)
    case kAvx512:
      return avx512::kTable;
#endif
#if defined(SUBKERN_HAVE_AVX2)
    case kAvx2:
      return avx2::kTable;
#endif
    default:
      return generic::kTable;
  }
}

namespace {

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

// Runs the pipeline on a team that the work justifies.
void run_on_threads(Pipeline& pipeline, int64_t elements, int threads) {
#pragma omp parallel num_threads(team_for(elements, threads))
  pipeline.work();
}

// Adds the stage that checks a wave and then counts its steps; returns its number.
int add_check(Pipeline& pipeline, const Kernels& kernels, const Gradients& g,
              const AdamOptions& options, const Wave& wave) {
  const auto check = [&kernels, &g, &wave](int64_t task) {
    const auto [position, block] = wave.blocks.find(task);
    const int64_t p = wave.begin + position, from = block * kBlock;
    const int64_t n = std::min(kBlock, g.size(p) - from);
    if (kernels.sk_has_nonfinite(at(g.data[p], g.dtype, from), g.dtype, n)) {
#pragma omp atomic write
      g.flags[p] = 1;
    }
  };
  const auto count_steps = [&g, &options, &wave] {
    for (int64_t p = wave.begin; p < wave.end; ++p) {
      if (g.flags[p]) {
        *g.skipped[p] += 1.0f;
      } else {
        g.eta[p] = start_step(options, g.step[p]);
      }
    }
  };
  const int64_t blocks = options.skip_nonfinite ? wave.blocks.total() : 0;
  return pipeline.add(blocks, Pipeline::kNothing, check, count_steps);
}

// Checks each wave and calls update(p, first element, elements) for its blocks, the last checked
// first: those are still in cache. The next wave is checked before a wave is updated.
template <class Update>
void walk(const Kernels& kernels, const Gradients& g, const AdamOptions& options, int64_t count,
          const Update& update) {
  const std::vector<Wave> waves = make_waves(count, g.numel, g.same_numel);
  int64_t elements = 0;
  for (int64_t p = 0; p < count; ++p) elements += g.size(p);
  Pipeline pipeline;
  const Wave* checked_wave = nullptr;
  int checked = Pipeline::kNothing;
  const auto add_update = [&] {
    if (checked_wave == nullptr) return;
    pipeline.add(
        checked_wave->blocks.total(), checked, [&g, &update, wave = checked_wave](int64_t task) {
          const auto [position, block] = wave->blocks.find(wave->blocks.total() - 1 - task);
          const int64_t p = wave->begin + position, from = block * kBlock;
          if (!g.flags[p]) update(p, from, std::min(kBlock, g.size(p) - from));
        });
  };
  for (const Wave& wave : waves) {
    const int check = add_check(pipeline, kernels, g, options, wave);
    add_update();
    checked_wave = &wave;
    checked = check;
  }
  add_update();
  run_on_threads(pipeline, elements, options.threads);
}

void moments_fira(const Kernels& kernels, const Gradients& g, const LowrankAdamChunk& c,
                  const AdamOptions& options) {
  const FiraTiles tiles(kernels, c, constants_of(options));
  const std::vector<Wave> waves = make_waves(c.count, nullptr, c.rows * c.cols);
  const int64_t elements = c.count * c.rows * c.cols;

  // Wave w is checked in slot w, summed in slot w + 1, and given its direction in slot w + 2.
  Pipeline pipeline;
  const int64_t count = static_cast<int64_t>(waves.size());
  std::vector<int> checked(count), summed(count);
  const auto add_sums = [&](int64_t w) {
    const int64_t begin = waves[w].begin, width = waves[w].end - begin;
    const auto run = [&, begin](int64_t task) {
      const int64_t p = begin + task / tiles.count();
      if (!g.flags[p]) tiles.moments(p, task % tiles.count());
    };
    const auto finish = [&, begin, width] {
      for (int64_t p = begin; p < begin + width; ++p) {
        if (!g.flags[p]) tiles.sums().finish(p, g.eta[p]);
      }
    };
    summed[w] = pipeline.add(width * tiles.count(), checked[w], run, finish);
  };
  const auto add_direction = [&](int64_t w) {
    const int64_t last = waves[w].end - 1, width = waves[w].end - waves[w].begin;
    pipeline.add(width * tiles.count(), summed[w], [&, last](int64_t task) {
      const int64_t p = last - task / tiles.count();
      const int64_t index = tiles.count() - 1 - task % tiles.count();
      if (!g.flags[p]) tiles.direction(p, index, g.eta[p]);
    });
  };
  for (int64_t slot = 0; slot < count + 2; ++slot) {
    if (slot >= 2) add_direction(slot - 2);
    if (slot >= 1 && slot <= count) add_sums(slot - 1);
    if (slot < count) checked[slot] = add_check(pipeline, kernels, g, options, waves[slot]);
  }
  run_on_threads(pipeline, elements, options.threads);
}

}  // namespace

void sk_adam(const AdamList& list, const AdamOptions& options, unsigned char* flags) {
  const Kernels& kernels = active_kernels();
  std::fill(flags, flags + list.count, 0);
  std::vector<double> eta(list.count);
  const Gradients g{list.G, list.dtype, list.numel, 0, list.step, list.skipped, flags, eta.data()};
  const AdamConstants adam = constants_of(options);
  const float decay = static_cast<float>(options.decay);
  walk(kernels, g, options, list.count, [&](int64_t p, int64_t from, int64_t n) {
    kernels.sk_adam_block(at(list.W[p], list.dtype, from), at(list.G[p], list.dtype, from),
                          list.dtype, list.exp_avg[p] + from, list.exp_avg_sq[p] + from, n, adam,
                          decay, static_cast<float>(-eta[p]));
  });
}

int64_t lowrank_adam_workspace(int64_t count, int64_t rows, int64_t cols, int column_axis,
                               Rule rule) {
  if (rule == kGalore) return 0;
  return count * FiraLayout(rows, cols, column_axis).floats();
}

void sk_lowrank_adam_moments(const LowrankAdamChunk& c, const AdamOptions& options,
                             unsigned char* flags) {
  const Kernels& kernels = active_kernels();
  std::fill(flags, flags + c.count, 0);
  std::vector<double> eta(c.count);
  const Gradients g{c.R, c.r_dtype, nullptr, c.rows * c.cols, c.step, c.skipped, flags, eta.data()};
  if (c.rule == kFira && !c.skip_residual) {
    moments_fira(kernels, g, c, options);
    return;
  }
  const AdamConstants adam = constants_of(options);
  walk(kernels, g, options, c.count, [&](int64_t p, int64_t from, int64_t n) {
    kernels.sk_galore_block(at(c.R[p], c.r_dtype, from), c.r_dtype, c.exp_avg[p] + from,
                            c.exp_avg_sq[p] + from, n, adam, static_cast<float>(-eta[p] * c.scale));
  });
  if (c.rule == kFira) {
    for (int64_t p = 0; p < c.count; ++p) {
      if (!flags[p]) std::fill(c.coef[p], c.coef[p] + c.columns, 0.0f);
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

}  // namespace subkern
