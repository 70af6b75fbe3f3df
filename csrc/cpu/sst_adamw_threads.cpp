// The rows of all entries, handed out to threads in groups of about equal work.
#include <cmath>
#include <vector>

#include "subkern/sst_adamw.h"
#include "work.h"

namespace subkern {
namespace {

struct Task {
  int64_t entry, first, rows;
};

SstConstants constants_of(const SstOptions& o, bool values, double t) {
  const double ramp = o.warmup > 0 ? std::min(1.0, t / static_cast<double>(o.warmup)) : 1.0;
  const double eta = o.lr * (values ? o.value_scale : o.vector_scale * ramp);
  return {static_cast<float>(o.beta1),
          static_cast<float>(1.0 - o.beta1),
          static_cast<float>(o.beta2),
          static_cast<float>(1.0 - o.beta2),
          static_cast<float>(o.eps),
          static_cast<float>(1.0 / (1.0 - std::pow(o.beta1, t))),
          static_cast<float>(1.0 / (1.0 - std::pow(o.beta2, t))),
          static_cast<float>(eta),
          static_cast<float>(1.0 - eta * o.weight_decay)};
}

}  // namespace

void sk_sst_adamw(const SstList& list, const SstOptions& options) {
  const Kernels& kernels = active_kernels();
  std::vector<SstConstants> numbers;
  std::vector<Task> tasks;
  int64_t elements = 0;
  for (int64_t p = 0; p < list.count; ++p) {
    *list.step[p] += 1.0f;
    numbers.push_back(constants_of(options, list.table[p] == nullptr, *list.step[p]));
    const int64_t group = rows_per_block(list.length[p]);
    for (int64_t first = 0; first < list.rows[p]; first += group) {
      tasks.push_back({p, first, std::min(group, list.rows[p] - first)});
    }
    elements += list.rows[p] * list.length[p];
  }
  const auto run = [&](const Task& task) {
    const int64_t p = task.entry, n = list.length[p];
    int64_t refused = 0;
    for (int64_t i = task.first; i < task.first + task.rows; ++i) {
      void* const table = list.table[p];
      const SstRow row{at(list.X[p], list.dtype, i * n),
                       at(list.G[p], list.dtype, i * n),
                       list.exp_avg[p] + i * n,
                       list.exp_avg_sq[p] + i * n,
                       table ? at(table, list.dtype, list.sampled[p][i] * n) : nullptr,
                       n,
                       list.dtype};
      if (options.skip_nonfinite && kernels.sk_has_nonfinite(row.g, row.dtype, n)) {
        ++refused;
      } else if (table == nullptr) {
        kernels.sk_sst_values(row, numbers[p]);
      } else {
        kernels.sk_sst_vector(row, numbers[p]);
      }
    }
    if (refused > 0) {
#pragma omp atomic
      *list.skipped[p] += static_cast<float>(refused);
    }
  };
  const int64_t count = static_cast<int64_t>(tasks.size());
#pragma omp parallel for num_threads(team_for(elements, options.threads)) schedule(dynamic)
  for (int64_t task = 0; task < count; ++task) run(tasks[task]);
}

}  // namespace subkern
