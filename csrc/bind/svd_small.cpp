// Binding of the singular value decomposition of small matrices.
#include "subkern/svd_small.h"

#include <algorithm>

#include "bindings.h"
#include "checks.h"

namespace subkern {
namespace {

Counter svd_small_calls("svd_small");

void check_svd_small(const Check& check, std::int64_t m, std::int64_t n) {
  check.elements("m", m, "n", n);
  if (std::min(m, n) > kSvdLargest) {
    check.fail("min(m, n)", "be at most 64", std::to_string(std::min(m, n)));
  }
}

std::int64_t svd_small_bytes(std::int64_t m, std::int64_t n, int threads) {
  const Check check("svd_small_workspace");
  check_svd_small(check, m, n);
  check.threads(threads);
  return svd_small_workspace(m, n, threads);
}

void svd_small(Address A, int dtype, std::int64_t count, std::int64_t m, std::int64_t n,
               std::int64_t matrix_stride, std::int64_t row_stride, std::int64_t col_stride,
               Address U, Address S, Address Vh, Address info, Address workspace,
               std::int64_t workspace_bytes, int threads) {
  const Check check("svd_small");
  check_svd_small(check, m, n);
  check.size("count", count);
  check.threads(threads);
  const bool filled = count > 0 && m > 0 && n > 0;
  const std::pair<const char*, Address> buffers[] = {{"A", A}, {"U", U}, {"S", S}, {"Vh", Vh}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, filled);
  check.pointer("info", info, count > 0);
  const std::int64_t needed = svd_small_workspace(m, n, threads);
  if (workspace_bytes < needed) {
    check.fail("workspace_bytes", "be at least " + std::to_string(needed),
               std::to_string(workspace_bytes));
  }
  check.pointer("workspace", workspace, filled);
  const SvdSmallBatch batch{as<const void>(A),
                            check.dtype("dtype", dtype),
                            count,
                            m,
                            n,
                            matrix_stride,
                            row_stride,
                            col_stride,
                            as<float>(U),
                            as<float>(S),
                            as<float>(Vh),
                            as<std::int32_t>(info),
                            false,
                            0};
  {
    py::gil_scoped_release release;
    sk_svd_small(batch, as<void>(workspace), threads);
  }
  ++svd_small_calls;
}

}  // namespace

void bind_svd_small(py::module_& m) {
  using py::arg;
  m.def("svd_small_workspace", &svd_small_bytes, py::kw_only(), arg("m"), arg("n"), arg("threads"),
        "Bytes of scratch that svd_small needs.");
  m.def("svd_small", &svd_small, py::kw_only(), arg("A"), arg("dtype"), arg("count"), arg("m"),
        arg("n"), arg("matrix_stride"), arg("row_stride"), arg("col_stride"), arg("U"), arg("S"),
        arg("Vh"), arg("info"), arg("workspace"), arg("workspace_bytes"), arg("threads"),
        "Thin singular value decomposition of a batch of matrices.");
}

}  // namespace subkern
