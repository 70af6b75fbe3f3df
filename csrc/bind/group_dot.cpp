// Binding of inner products.
#include "subkern/group_dot.h"

#include "bindings.h"
#include "checks.h"

namespace subkern {
namespace {

Counter group_dot_calls("group_dot");

std::int64_t group_dot_bytes(std::int64_t groups, std::int64_t n) {
  Check("group_dot_workspace").elements("groups", groups, "n", n);
  return group_dot_workspace(groups, n);
}

void group_dot(Address u, Address v, std::int64_t groups, std::int64_t n, Address dot,
               Address space, std::int64_t workspace_bytes, int threads) {
  const Check check("group_dot");
  const bool any = check.elements("groups", groups, "n", n) > 0;
  check.threads(threads);
  check.pointer("u", u, any);
  check.pointer("v", v, any);
  check.pointer("dot", dot, groups > 0);
  check.workspace(space, workspace_bytes, group_dot_workspace(groups, n));
  const GroupDot call{as<const float>(u), as<const float>(v), groups, n,
                      as<double>(dot),    as<double>(space)};
  {
    py::gil_scoped_release release;
    sk_group_dot(call, threads);
  }
  ++group_dot_calls;
}

}  // namespace

void bind_group_dot(py::module_& m) {
  using py::arg;
  m.def("group_dot_workspace", &group_dot_bytes, py::kw_only(), arg("groups"), arg("n"),
        "Bytes of scratch that group_dot needs.");
  m.def("group_dot", &group_dot, py::kw_only(), arg("u"), arg("v"), arg("groups"), arg("n"),
        arg("dot"), arg("workspace"), arg("workspace_bytes"), arg("threads"),
        "Inner products of rows of float32, in float64.");
}

}  // namespace subkern
