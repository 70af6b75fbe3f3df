// Binding of Adam for lists of tensors on a CUDA device.
#include "cuda_bindings.h"
#include "subkern/cuda/adam.h"

namespace subkern {
namespace {

LaunchCounter adam_scan_launches("adam_scan");
LaunchCounter adam_apply_launches("adam_apply");

std::int64_t adam_workspace(const std::vector<std::int64_t>& numel) {
  const Check check("adam_workspace");
  for (const std::int64_t n : numel) check.size("numel", n);
  return cuda_adam_workspace(static_cast<std::int64_t>(numel.size()), numel.data());
}

void adam(const Addresses& W, const Addresses& G, const Addresses& exp_avg,
          const Addresses& exp_avg_sq, const Addresses& step, const Addresses& skipped,
          const std::vector<std::int64_t>& numel, int w_dtype, double lr, Address lr_address,
          double beta1, double beta2, double eps, double weight_decay, bool post_decay,
          bool correct_bias, bool skip_nonfinite, Address scratch, std::int64_t scratch_bytes,
          int device, Address stream) {
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
  const Dtype dtype = check.dtype("w_dtype", w_dtype);
  const std::int64_t needed = cuda_adam_workspace(static_cast<std::int64_t>(count), numel.data());
  if (scratch_bytes < needed) {
    check.fail("scratch_bytes", "be at least " + std::to_string(needed),
               std::to_string(scratch_bytes));
  }
  check.pointer("scratch", scratch, needed > 0);
  const CudaQueue queue = to_queue(check, device, stream);

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
  const CudaAdamOptions options{lr,
                                as<const float>(lr_address),
                                beta1,
                                beta2,
                                eps,
                                weight_decay,
                                post_decay,
                                correct_bias,
                                skip_nonfinite};
  std::int64_t launches[2] = {0, 0};
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_adam(list, options, as<void>(scratch), queue, launches);
  }
  adam_scan_launches += launches[0];
  adam_apply_launches += launches[1];
  check_status("adam", status);
}

}  // namespace

void bind_cuda_adam(py::module_& m) {
  using py::arg;
  m.attr("adam_tensors_per_launch") = cuda_adam_tensors_per_launch();
  m.def("adam_workspace", &adam_workspace, py::kw_only(), arg("numel"),
        "Bytes of scratch that adam needs.");
  m.def("adam", &adam, py::kw_only(), arg("W"), arg("G"), arg("exp_avg"), arg("exp_avg_sq"),
        arg("step"), arg("skipped"), arg("numel"), arg("w_dtype"), arg("lr"), arg("lr_address"),
        arg("beta1"), arg("beta2"), arg("eps"), arg("weight_decay"), arg("post_decay"),
        arg("correct_bias"), arg("skip_nonfinite"), arg("scratch"), arg("scratch_bytes"),
        arg("device"), arg("stream"), "Adam on a list of parameters.");
}

}  // namespace subkern
