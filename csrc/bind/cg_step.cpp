// Bindings of the start and of a step of conjugate gradients, and of its halves.
#include "subkern/cg_step.h"

#include "bindings.h"
#include "checks.h"

namespace subkern {
namespace {

Counter start_calls("cg_start"), residual_calls("cg_step_residual"),
    direction_calls("cg_step_direction"), step_calls("cg_step");

std::int64_t cg_start_bytes(std::int64_t groups, std::int64_t n) {
  Check("cg_start_workspace").elements("groups", groups, "n", n);
  return cg_start_workspace(groups, n);
}

void cg_start(Address r, Address b, double rtol, double atol, Address state, std::int64_t groups,
              std::int64_t n, Address space, std::int64_t workspace_bytes, int threads) {
  const Check check("cg_start");
  const bool any = check.elements("groups", groups, "n", n) > 0;
  check.threads(threads);
  check.pointer("r", r, any);
  check.pointer("state", state, groups > 0);
  check.workspace(space, workspace_bytes, cg_start_workspace(groups, n));
  const CgStart call{
      as<const float>(r), as<const float>(b), rtol, atol, as<double>(state), groups, n,
      as<double>(space)};
  {
    py::gil_scoped_release release;
    sk_cg_start(call, threads);
  }
  ++start_calls;
}

std::int64_t cg_step_bytes(std::int64_t groups, std::int64_t n) {
  Check("cg_step_workspace").elements("groups", groups, "n", n);
  return cg_step_workspace(groups, n);
}

void cg_step_residual(Address r, Address q, Address curvature, Address state, std::int64_t groups,
                      std::int64_t n, Address space, std::int64_t workspace_bytes, int threads) {
  const Check check("cg_step_residual");
  const bool any = check.elements("groups", groups, "n", n) > 0;
  check.threads(threads);
  check.pointer("r", r, any);
  check.pointer("q", q, any);
  check.pointer("curvature", curvature, groups > 0);
  check.pointer("state", state, groups > 0);
  check.workspace(space, workspace_bytes, cg_step_workspace(groups, n));
  const CgResidual call{as<float>(r),
                        as<const float>(q),
                        as<const double>(curvature),
                        as<double>(state),
                        groups,
                        n,
                        as<double>(space)};
  {
    py::gil_scoped_release release;
    sk_cg_step_residual(call, threads);
  }
  ++residual_calls;
}

void cg_step_direction(Address x, Address p, Address z, Address state, std::int64_t groups,
                       std::int64_t n, int threads) {
  const Check check("cg_step_direction");
  const bool any = check.elements("groups", groups, "n", n) > 0;
  check.threads(threads);
  check.pointer("x", x, any);
  check.pointer("p", p, any);
  check.pointer("z", z, any);
  check.pointer("state", state, groups > 0);
  const CgDirection call{
      as<float>(x), as<float>(p), as<const float>(z), as<const double>(state), groups, n};
  {
    py::gil_scoped_release release;
    sk_cg_step_direction(call, threads);
  }
  ++direction_calls;
}

void cg_step(Address x, Address r, Address p, Address q, Address curvature, Address state,
             std::int64_t groups, std::int64_t n, Address space, std::int64_t workspace_bytes,
             int threads) {
  const Check check("cg_step");
  const bool any = check.elements("groups", groups, "n", n) > 0;
  check.threads(threads);
  const std::pair<const char*, Address> vectors[] = {{"x", x}, {"r", r}, {"p", p}, {"q", q}};
  for (const auto& [name, address] : vectors) check.pointer(name, address, any);
  check.pointer("state", state, groups > 0);
  check.workspace(space, workspace_bytes, cg_step_workspace(groups, n) + 8 * groups);
  const CgStep call{as<float>(x),
                    as<float>(r),
                    as<float>(p),
                    as<const float>(q),
                    as<const double>(curvature),
                    as<double>(state),
                    groups,
                    n,
                    as<double>(space)};
  {
    py::gil_scoped_release release;
    sk_cg_step(call, threads);
  }
  ++step_calls;
}

}  // namespace

void bind_cg_step(py::module_& m) {
  using py::arg;
  m.def("cg_start_workspace", &cg_start_bytes, arg("groups"), arg("n"),
        "Bytes of scratch that cg_start needs.");
  m.def("cg_start", &cg_start, arg("r"), arg("b"), arg("rtol"), arg("atol"), arg("state"),
        arg("groups"), arg("n"), arg("workspace"), arg("workspace_bytes"), arg("threads"),
        "The state of groups of float32 residuals before a step; b is 0 where it is not needed.");
  m.def("cg_step_workspace", &cg_step_bytes, py::kw_only(), arg("groups"), arg("n"),
        "Bytes of scratch that cg_step_residual needs.");
  m.def("cg_step_residual", &cg_step_residual, py::kw_only(), arg("r"), arg("q"), arg("curvature"),
        arg("state"), arg("groups"), arg("n"), arg("workspace"), arg("workspace_bytes"),
        arg("threads"), "Residuals of float32 and the state of their groups after a step.");
  m.def("cg_step_direction", &cg_step_direction, py::kw_only(), arg("x"), arg("p"), arg("z"),
        arg("state"), arg("groups"), arg("n"), arg("threads"),
        "Iterates and directions of float32 after a step.");
  m.def(
      "cg_step", &cg_step, arg("x"), arg("r"), arg("p"), arg("q"), arg("curvature"), arg("state"),
      arg("groups"), arg("n"), arg("workspace"), arg("workspace_bytes"), arg("threads"),
      "A whole step; curvature is 0 where <p, q> is not known. Its workspace has 8 bytes more for "
      "each group.");
}

}  // namespace subkern
