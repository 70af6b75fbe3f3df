// Binding of inner products on a CUDA device.
#include "cuda_bindings.h"
#include "subkern/cuda/group_dot.h"
#include "vector_checks.h"

namespace subkern {
namespace {

LaunchCounter group_dot_launches("group_dot");

std::int64_t group_dot_bytes(std::int64_t groups, std::int64_t n) {
  check_groups(Check("group_dot_workspace"), groups, n);
  return cuda_group_dot_workspace(groups, n);
}

void group_dot(Address u, Address v, std::int64_t groups, std::int64_t n, Address dot,
               Address space, std::int64_t workspace_bytes, Address counters, int device,
               Address stream) {
  const Check check("group_dot");
  const bool any = check_groups(check, groups, n) > 0;
  check.pointer("u", u, any);
  check.pointer("v", v, any);
  check.pointer("dot", dot, groups > 0);
  check_sums(check, space, workspace_bytes, cuda_group_dot_workspace(groups, n), counters);
  const CudaGroupDot call{as<const float>(u), as<const float>(v),        groups, n, as<double>(dot),
                          as<void>(space),    as<std::int32_t>(counters)};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_group_dot(call, queue, &launches);
  }
  group_dot_launches += launches;
  check_status("group_dot", status);
}

}  // namespace

void bind_cuda_group_dot(py::module_& m) {
  using py::arg;
  m.def("group_dot_workspace", &group_dot_bytes, py::kw_only(), arg("groups"), arg("n"),
        "Bytes of scratch that group_dot needs; with none it needs no counters either.");
  m.def("group_dot", &group_dot, py::kw_only(), arg("u"), arg("v"), arg("groups"), arg("n"),
        arg("dot"), arg("workspace"), arg("workspace_bytes"), arg("counters"), arg("device"),
        arg("stream"), "Inner products of rows of float32, in float64.");
}

}  // namespace subkern
