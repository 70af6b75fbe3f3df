// Binding of AdamW on listed entries.
#include <algorithm>

#include "bindings.h"
#include "packed_checks.h"

namespace subkern {
namespace {

Counter packed_adamw_calls("packed_adamw");

void refuse(const Check& check, const IndexFault& fault, const PackedSizes& numel) {
  if (fault.kind == IndexFault::kNone) return;
  const std::string name = "indices[" + std::to_string(fault.parameter) + "]";
  const std::string index = std::to_string(fault.index);
  if (fault.kind == IndexFault::kRepeated)
    check.fail(name, "not repeat", index + " more than once");
  check.fail(name, "be in [0, " + std::to_string(numel[fault.parameter]) + ")", index);
}

void packed_adamw(const Addresses& W, const Addresses& G, const Addresses& indices,
                  const Addresses& exp_avg, const Addresses& exp_avg_sq, const Addresses& step,
                  const PackedSizes& numel, const PackedSizes& listed, const PackedFlags& packed,
                  const PackedFlags& per_entry, int w_dtype, bool wide, double lr, double beta1,
                  double beta2, double eps, double decay, Address bits, std::int64_t bits_bytes,
                  int threads) {
  const Check check("packed_adamw");
  const PackedLists lists(check, W, G, indices, exp_avg, exp_avg_sq, step, numel, listed, packed,
                          per_entry, w_dtype, wide);
  const PackedList list = lists.list();
  check.threads(threads);
  const std::int64_t largest = numel.empty() ? 0 : *std::max_element(numel.begin(), numel.end());
  const std::int64_t needed = (largest + 63) / 64 * 8;
  if (bits_bytes < needed) {
    check.fail("bits_bytes", "be at least " + std::to_string(needed), std::to_string(bits_bytes));
  }
  check.pointer("bits", bits, needed > 0);
  const AdamOptions options{lr, beta1, beta2, eps, decay, 1.0, true, false, threads};
  IndexFault fault;
  {
    py::gil_scoped_release release;
    fault = check_indices(list, as<void>(bits), threads);
    if (fault.kind == IndexFault::kNone) sk_packed_adamw(list, options);
  }
  refuse(check, fault, numel);
  ++packed_adamw_calls;
}

}  // namespace

void bind_packed_adamw(py::module_& m) {
  using py::arg;
  m.def("packed_adamw", &packed_adamw, py::kw_only(), arg("W"), arg("G"), arg("indices"),
        arg("exp_avg"), arg("exp_avg_sq"), arg("step"), arg("numel"), arg("listed"), arg("packed"),
        arg("per_entry"), arg("w_dtype"), arg("wide"), arg("lr"), arg("beta1"), arg("beta2"),
        arg("eps"), arg("decay"), arg("bits"), arg("bits_bytes"), arg("threads"),
        "AdamW on listed entries; indices are judged before anything is written.");
}

}  // namespace subkern
