// Bindings of the halves of a step of conjugate gradients on a CUDA device.
#include "cuda_bindings.h"
#include "subkern/cuda/cg_step.h"
#include "vector_checks.h"

namespace subkern {
namespace {

LaunchCounter residual_launches("cg_step_residual"), direction_launches("cg_step_direction");

std::int64_t cg_step_bytes(std::int64_t groups, std::int64_t n) {
  check_groups(Check("cg_step_workspace"), groups, n);
  return cuda_cg_step_workspace(groups, n);
}

void cg_step_residual(Address r, Address q, Address curvature, Address state, std::int64_t groups,
                      std::int64_t n, Address space, std::int64_t workspace_bytes, Address counters,
                      int device, Address stream) {
  const Check check("cg_step_residual");
  const bool any = check_groups(check, groups, n) > 0;
  check.pointer("r", r, any);
  check.pointer("q", q, any);
  check.pointer("curvature", curvature, groups > 0);
  check.pointer("state", state, groups > 0);
  check_sums(check, space, workspace_bytes, cuda_cg_step_workspace(groups, n), counters);
  const CudaCgResidual call{as<float>(r),
                            as<const float>(q),
                            as<const double>(curvature),
                            as<double>(state),
                            groups,
                            n,
                            as<void>(space),
                            as<std::int32_t>(counters)};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_cg_step_residual(call, queue, &launches);
  }
  residual_launches += launches;
  check_status("cg_step_residual", status);
}

void cg_step_direction(Address x, Address p, Address z, Address state, std::int64_t groups,
                       std::int64_t n, int device, Address stream) {
  const Check check("cg_step_direction");
  const bool any = check_groups(check, groups, n) > 0;
  check.pointer("x", x, any);
  check.pointer("p", p, any);
  check.pointer("z", z, any);
  check.pointer("state", state, groups > 0);
  const CudaCgDirection call{
      as<float>(x), as<float>(p), as<const float>(z), as<const double>(state), groups, n};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_cg_step_direction(call, queue, &launches);
  }
  direction_launches += launches;
  check_status("cg_step_direction", status);
}

}  // namespace

void bind_cuda_cg_step(py::module_& m) {
  using py::arg;
  m.def("cg_step_workspace", &cg_step_bytes, py::kw_only(), arg("groups"), arg("n"),
        "Bytes of scratch that cg_step_residual needs; with none it needs no counters either.");
  m.def("cg_step_residual", &cg_step_residual, py::kw_only(), arg("r"), arg("q"), arg("curvature"),
        arg("state"), arg("groups"), arg("n"), arg("workspace"), arg("workspace_bytes"),
        arg("counters"), arg("device"), arg("stream"),
        "Residuals of float32 and the state of their groups after a step.");
  m.def("cg_step_direction", &cg_step_direction, py::kw_only(), arg("x"), arg("p"), arg("z"),
        arg("state"), arg("groups"), arg("n"), arg("device"), arg("stream"),
        "Iterates and directions of float32 after a step.");
}

}  // namespace subkern
