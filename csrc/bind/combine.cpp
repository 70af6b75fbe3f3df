// Binding of sums of basis vectors.
#include "subkern/combine.h"

#include "bindings.h"
#include "checks.h"

namespace subkern {
namespace {

Counter combine_calls("combine");

void combine(Address z, Address V, Address coefficients, std::int64_t groups, std::int64_t m,
             std::int64_t n, Address out, int threads) {
  const Check check("combine");
  const std::int64_t numbers = check.elements("groups", groups, "m", m);
  const bool vectors = check.elements("m", numbers, "n", n) > 0;
  check.threads(threads);
  const bool any = check.elements("groups", groups, "n", n) > 0;
  check.pointer("z", z, any);
  check.pointer("V", V, vectors);
  check.pointer("coefficients", coefficients, numbers > 0);
  check.pointer("out", out, any);
  const Combine call{
      as<const float>(z), as<const float>(V), as<const double>(coefficients), groups, m, n,
      as<float>(out)};
  {
    py::gil_scoped_release release;
    sk_combine(call, threads);
  }
  ++combine_calls;
}

}  // namespace

void bind_combine(py::module_& m) {
  using py::arg;
  m.def("combine", &combine, py::kw_only(), arg("z"), arg("V"), arg("coefficients"), arg("groups"),
        arg("m"), arg("n"), arg("out"), arg("threads"),
        "z plus sums of rows of float32, by coefficients of float64.");
}

}  // namespace subkern
