// Binding of the scan of a batch.
#include "subkern/scan.h"

#include "bindings.h"
#include "checks.h"

namespace subkern {
namespace {

Counter scan_calls("scan");

void scan(Address X, int dtype, std::int64_t count, std::int64_t n, std::int64_t matrix_stride,
          Address results, Address scratch, std::int64_t scratch_bytes, int threads) {
  const Check check("scan");
  check.elements("count", count, "n", n);
  check.threads(threads);
  check.pointer("X", X, count > 0 && n > 0);
  check.pointer("results", results, count > 0);
  const std::int64_t needed = scan_workspace(count, n);
  if (scratch_bytes < needed) {
    check.fail("scratch_bytes", "be at least " + std::to_string(needed),
               std::to_string(scratch_bytes));
  }
  check.pointer("scratch", scratch, needed > 0);
  const ScanBatch batch{
      as<const void>(X), check.dtype("dtype", dtype), count, n, matrix_stride, as<double>(results),
      as<void>(scratch)};
  {
    py::gil_scoped_release release;
    sk_scan(batch, threads);
  }
  ++scan_calls;
}

}  // namespace

void bind_scan(py::module_& m) {
  using py::arg;
  m.def("scan_workspace", &scan_workspace, py::kw_only(), arg("count"), arg("n"),
        "Bytes of scratch that scan needs.");
  m.def("scan", &scan, py::kw_only(), arg("X"), arg("dtype"), arg("count"), arg("n"),
        arg("matrix_stride"), arg("results"), arg("scratch"), arg("scratch_bytes"), arg("threads"),
        "Largest magnitude, sum of squares and whether they are not finite, of each matrix.");
}

}  // namespace subkern
