// Binding of sums of basis vectors on a CUDA device.
#include "cuda_bindings.h"
#include "subkern/cuda/combine.h"
#include "vector_checks.h"

namespace subkern {
namespace {

LaunchCounter combine_launches("combine");

void combine(Address z, Address V, Address coefficients, std::int64_t groups, std::int64_t m,
             std::int64_t n, Address out, int device, Address stream) {
  const Check check("combine");
  const bool any = check_groups(check, groups, n) > 0;
  const std::int64_t vectors = check.elements("groups", groups, "m", m);
  const bool basis = check.elements("m", vectors, "n", n) > 0;
  check.pointer("z", z, any);
  check.pointer("V", V, basis);
  check.pointer("coefficients", coefficients, vectors > 0);
  check.pointer("out", out, any);
  const CudaCombine call{
      as<const float>(z), as<const float>(V), as<const double>(coefficients), groups, m, n,
      as<float>(out)};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_combine(call, queue, &launches);
  }
  combine_launches += launches;
  check_status("combine", status);
}

}  // namespace

void bind_cuda_combine(py::module_& m) {
  using py::arg;
  m.def("combine", &combine, py::kw_only(), arg("z"), arg("V"), arg("coefficients"), arg("groups"),
        arg("m"), arg("n"), arg("out"), arg("device"), arg("stream"),
        "z plus sums of rows of float32, by coefficients of float64.");
}

}  // namespace subkern
