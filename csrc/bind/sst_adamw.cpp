// Binding of the step of Sparse Spectral Training.
#include "bindings.h"
#include "sst_checks.h"

namespace subkern {
namespace {

Counter sst_adamw_calls("sst_adamw");

// Every index of every list is a row of its table; nothing has been written when one is not.
void check_sampled(const Check& check, const SstList& list,
                   const std::vector<std::int64_t>& table_rows) {
  for (std::int64_t p = 0; p < list.count; ++p) {
    if (list.table[p] == nullptr) continue;
    for (std::int64_t i = 0; i < list.rows[p]; ++i) {
      const std::int64_t row = list.sampled[p][i];
      if (row < 0 || row >= table_rows[p]) {
        check.fail("sampled",
                   "hold rows of its table, in [0, " + std::to_string(table_rows[p]) + ")",
                   std::to_string(row));
      }
    }
  }
}

void sst_adamw(const Addresses& X, const Addresses& G, const Addresses& exp_avg,
               const Addresses& exp_avg_sq, const Addresses& step, const Addresses& skipped,
               const Addresses& table, const Addresses& sampled,
               const std::vector<std::int64_t>& rows, const std::vector<std::int64_t>& length,
               const std::vector<std::int64_t>& table_rows, int dtype, double lr,
               double value_scale, double vector_scale, double beta1, double beta2, double eps,
               double weight_decay, std::int64_t warmup, bool skip_nonfinite, int threads) {
  const Check check("sst_adamw");
  check.threads(threads);
  const SstLists lists(check, X, G, exp_avg, exp_avg_sq, step, skipped, table, sampled, rows,
                       length, table_rows, dtype);
  const SstList list = lists.list();
  check_sampled(check, list, table_rows);
  const SstOptions options{lr,  value_scale,  vector_scale, beta1,          beta2,
                           eps, weight_decay, warmup,       skip_nonfinite, threads};
  {
    py::gil_scoped_release release;
    sk_sst_adamw(list, options);
  }
  ++sst_adamw_calls;
}

}  // namespace

void bind_sst_adamw(py::module_& m) {
  using py::arg;
  m.def("sst_adamw", &sst_adamw, py::kw_only(), arg("X"), arg("G"), arg("exp_avg"),
        arg("exp_avg_sq"), arg("step"), arg("skipped"), arg("table"), arg("sampled"), arg("rows"),
        arg("length"), arg("table_rows"), arg("dtype"), arg("lr"), arg("value_scale"),
        arg("vector_scale"), arg("beta1"), arg("beta2"), arg("eps"), arg("weight_decay"),
        arg("warmup"), arg("skip_nonfinite"), arg("threads"),
        "One step of Sparse Spectral Training; table 0 marks singular values, rows must be 1.");
}

}  // namespace subkern
