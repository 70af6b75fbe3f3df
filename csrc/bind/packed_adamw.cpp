// Binding of AdamW on listed entries.
#include "subkern/packed_adamw.h"

#include <algorithm>

#include "bindings.h"
#include "checks.h"

namespace subkern {
namespace {

Counter packed_adamw_calls("packed_adamw");

using Sizes = std::vector<std::int64_t>;
using Flags = std::vector<unsigned char>;

void refuse(const Check& check, const IndexFault& fault, const Sizes& numel) {
  if (fault.kind == IndexFault::kNone) return;
  const std::string name = "indices[" + std::to_string(fault.parameter) + "]";
  const std::string index = std::to_string(fault.index);
  if (fault.kind == IndexFault::kRepeated)
    check.fail(name, "not repeat", index + " more than once");
  check.fail(name, "be in [0, " + std::to_string(numel[fault.parameter]) + ")", index);
}

void packed_adamw(const Addresses& W, const Addresses& G, const Addresses& indices,
                  const Addresses& exp_avg, const Addresses& exp_avg_sq, const Addresses& step,
                  const Sizes& numel, const Sizes& listed, const Flags& packed,
                  const Flags& per_entry, int w_dtype, bool wide, double lr, double beta1,
                  double beta2, double eps, double decay, Address bits, std::int64_t bits_bytes,
                  int threads) {
  const Check check("packed_adamw");
  const std::size_t count = W.size();
  check.length("numel", numel, count);
  check.length("listed", listed, count);
  check.length("packed", packed, count);
  check.length("per_entry", per_entry, count);
  for (const std::int64_t n : numel) check.elements("numel", n, "1", 1);
  for (const std::int64_t n : listed) check.elements("listed", n, "1", 1);
  check.length("step", step, count);
  for (std::size_t p = 0; p < count; ++p) {
    check.pointer("step", step[p], !per_entry[p] || listed[p] > 0);
  }
  const std::pair<const char*, const Addresses&> buffers[] = {
      {"W", W}, {"G", G}, {"indices", indices}, {"exp_avg", exp_avg}, {"exp_avg_sq", exp_avg_sq}};
  for (const auto& [name, list] : buffers) {
    check.length(name, list, count);
    for (std::size_t p = 0; p < count; ++p) check.pointer(name, list[p], listed[p] > 0);
  }
  check.threads(threads);
  const std::int64_t largest = count == 0 ? 0 : *std::max_element(numel.begin(), numel.end());
  const std::int64_t needed = (largest + 63) / 64 * 8;
  if (bits_bytes < needed) {
    check.fail("bits_bytes", "be at least " + std::to_string(needed), std::to_string(bits_bytes));
  }
  check.pointer("bits", bits, needed > 0);

  const auto weights = as_pointers<void>(W);
  const auto gradients = as_pointers<const void>(G), places = as_pointers<const void>(indices);
  const auto first = as_pointers<float>(exp_avg), second = as_pointers<float>(exp_avg_sq);
  const auto steps = as_pointers<float>(step);
  const PackedList list{static_cast<std::int64_t>(count),
                        weights.data(),
                        gradients.data(),
                        places.data(),
                        first.data(),
                        second.data(),
                        steps.data(),
                        numel.data(),
                        listed.data(),
                        packed.data(),
                        per_entry.data(),
                        check.dtype("w_dtype", w_dtype),
                        wide};
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
