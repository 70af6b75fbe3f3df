// Binding of the scan on a CUDA device.
#include "cuda_bindings.h"
#include "subkern/cuda/scan.h"

namespace subkern {
namespace {

LaunchCounter scan_launches("scan");

void scan(Address X, int dtype, std::int64_t count, std::int64_t n, std::int64_t matrix_stride,
          Address results, Address scratch, std::int64_t scratch_bytes, Address counters,
          int device, Address stream) {
  const Check check("scan");
  check.elements("count", count, "n", n);
  const std::int64_t needed = cuda_scan_workspace(count, n);
  if (scratch_bytes < needed) {
    check.fail("scratch_bytes", "be at least " + std::to_string(needed),
               std::to_string(scratch_bytes));
  }
  const std::pair<const char*, Address> buffers[] = {
      {"X", n > 0 ? X : 1}, {"results", results}, {"scratch", scratch}, {"counters", counters}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, count > 0);
  const CudaScan call{
      as<const void>(X), check.dtype("dtype", dtype), count, n, matrix_stride, as<double>(results),
      as<void>(scratch), as<std::int32_t>(counters)};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_scan(call, queue, &launches);
  }
  scan_launches += launches;
  check_status("scan", status);
}

}  // namespace

void bind_cuda_scan(py::module_& m) {
  using py::arg;
  m.def("scan_workspace", &cuda_scan_workspace, py::kw_only(), arg("count"), arg("n"),
        "Bytes of scratch that scan needs.");
  m.def("scan", &scan, py::kw_only(), arg("X"), arg("dtype"), arg("count"), arg("n"),
        arg("matrix_stride"), arg("results"), arg("scratch"), arg("scratch_bytes"), arg("counters"),
        arg("device"), arg("stream"),
        "Largest magnitude, sum of squares and whether they are not finite, of each matrix.");
}

}  // namespace subkern
