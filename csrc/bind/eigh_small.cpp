// Binding of the eigen-decomposition of small symmetric matrices.
#include "subkern/eigh_small.h"

#include "bindings.h"
#include "checks.h"

namespace subkern {
namespace {

Counter eigh_small_calls("eigh_small");

void check_size(const Check& check, std::int64_t n) {
  check.size("n", n);
  if (n > kEighLargest) check.fail("n", "be at most 64", std::to_string(n));
}

std::int64_t eigh_small_bytes(std::int64_t n, int threads) {
  const Check check("eigh_small_workspace");
  check_size(check, n);
  check.threads(threads);
  return eigh_small_workspace(n, threads);
}

void eigh_small(Address C, int dtype, std::int64_t count, std::int64_t n,
                std::int64_t matrix_stride, std::int64_t row_stride, std::int64_t col_stride,
                Address w, Address V, Address info, Address workspace, std::int64_t workspace_bytes,
                int threads) {
  const Check check("eigh_small");
  check_size(check, n);
  check.size("count", count);
  check.threads(threads);
  const bool filled = count > 0 && n > 0;
  const std::pair<const char*, Address> buffers[] = {{"C", C}, {"w", w}, {"V", V}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, filled);
  check.pointer("info", info, count > 0);
  const std::int64_t needed = eigh_small_workspace(n, threads);
  if (workspace_bytes < needed) {
    check.fail("workspace_bytes", "be at least " + std::to_string(needed),
               std::to_string(workspace_bytes));
  }
  check.pointer("workspace", workspace, filled);
  const EighSmallBatch batch{as<const void>(C),
                             check.dtype("dtype", dtype),
                             count,
                             n,
                             matrix_stride,
                             row_stride,
                             col_stride,
                             as<float>(w),
                             as<float>(V),
                             as<std::int32_t>(info)};
  {
    py::gil_scoped_release release;
    sk_eigh_small(batch, as<void>(workspace), threads);
  }
  ++eigh_small_calls;
}

}  // namespace

void bind_eigh_small(py::module_& m) {
  using py::arg;
  m.def("eigh_small_workspace", &eigh_small_bytes, py::kw_only(), arg("n"), arg("threads"),
        "Bytes of scratch that eigh_small needs.");
  m.def("eigh_small", &eigh_small, py::kw_only(), arg("C"), arg("dtype"), arg("count"), arg("n"),
        arg("matrix_stride"), arg("row_stride"), arg("col_stride"), arg("w"), arg("V"), arg("info"),
        arg("workspace"), arg("workspace_bytes"), arg("threads"),
        "Eigenvalues and eigenvectors of a batch of symmetric matrices.");
}

}  // namespace subkern
