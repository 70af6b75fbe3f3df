// Binding of Adam for lists of tensors.
#include "subkern/adam.h"

#include "bindings.h"
#include "checks.h"

namespace subkern {
namespace {

Counter adam_calls("adam");

std::vector<bool> adam(const Addresses& W, const Addresses& G, const Addresses& exp_avg,
                       const Addresses& exp_avg_sq, const Addresses& step, const Addresses& skipped,
                       const std::vector<std::int64_t>& numel, int w_dtype, double lr, double beta1,
                       double beta2, double eps, double decay, double update_scale,
                       bool correct_bias, bool skip_nonfinite, int threads) {
  const Check check("adam");
  const std::size_t count = W.size();
  check.length("numel", numel, count);
  for (const std::int64_t n : numel) check.size("numel", n);
  check.pointers("step", step, count);
  check.pointers("skipped", skipped, count);
  const std::pair<const char*, const Addresses&> buffers[] = {
      {"W", W}, {"G", G}, {"exp_avg", exp_avg}, {"exp_avg_sq", exp_avg_sq}};
  for (const auto& [name, list] : buffers) {
    check.length(name, list, count);
    for (std::size_t p = 0; p < count; ++p) check.pointer(name, list[p], numel[p] > 0);
  }
  check.threads(threads);
  const Dtype dtype = check.dtype("w_dtype", w_dtype);

  const auto weights = as_pointers<void>(W);
  const auto gradients = as_pointers<const void>(G);
  const auto first = as_pointers<float>(exp_avg), second = as_pointers<float>(exp_avg_sq);
  const auto steps = as_pointers<float>(step), skips = as_pointers<float>(skipped);
  const AdamList list{static_cast<std::int64_t>(count),
                      weights.data(),
                      gradients.data(),
                      first.data(),
                      second.data(),
                      steps.data(),
                      skips.data(),
                      numel.data(),
                      dtype};
  const AdamOptions options{lr,           beta1,        beta2,          eps,    decay,
                            update_scale, correct_bias, skip_nonfinite, threads};
  std::vector<unsigned char> flags(count);
  {
    py::gil_scoped_release release;
    sk_adam(list, options, flags.data());
  }
  ++adam_calls;
  return to_bools(flags);
}

}  // namespace

void bind_adam(py::module_& m) {
  using py::arg;
  m.def("adam", &adam, py::kw_only(), arg("W"), arg("G"), arg("exp_avg"), arg("exp_avg_sq"),
        arg("step"), arg("skipped"), arg("numel"), arg("w_dtype"), arg("lr"), arg("beta1"),
        arg("beta2"), arg("eps"), arg("decay"), arg("update_scale"), arg("correct_bias"),
        arg("skip_nonfinite"), arg("threads"),
        "Adam on a list of parameters; returns the skipped flags.");
}

}  // namespace subkern
