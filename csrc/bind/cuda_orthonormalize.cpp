// Binding of orthonormalize on a CUDA device.
#include "cuda_bindings.h"
#include "subkern/cuda/orthonormalize.h"

namespace subkern {
namespace {

Counter orthonormalize_launches("orthonormalize");

void orthonormalize(Address Y, int dtype, std::int64_t count, std::int64_t rows, std::int64_t cols,
                    std::int64_t matrix_stride, std::int64_t row_stride, std::int64_t col_stride,
                    Address Q, Address R, Address info, int device, Address stream) {
  const Check check("orthonormalize");
  check.size("count", count);
  check.elements("rows", rows, "cols", cols);
  if (cols < 1 || cols > rows) {
    check.fail("cols", "be at least 1 and at most rows", std::to_string(cols));
  }
  const CudaQueue queue = to_queue(check, device, stream);
  if (!cuda_orthonormalize_fits(rows, cols, device)) {
    check.fail("rows", "fit the shared memory of a block", std::to_string(rows));
  }
  const std::pair<const char*, Address> buffers[] = {{"Y", Y}, {"Q", Q}, {"R", R}, {"info", info}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, count > 0);
  const CudaOrthonormalize call{as<const void>(Y),
                                check.dtype("dtype", dtype),
                                count,
                                rows,
                                cols,
                                matrix_stride,
                                row_stride,
                                col_stride,
                                as<float>(Q),
                                as<float>(R),
                                as<std::int32_t>(info)};
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_orthonormalize(call, queue);
  }
  orthonormalize_launches += count > 0;
  check_status("orthonormalize", status);
}

}  // namespace

void bind_cuda_orthonormalize(py::module_& m) {
  using py::arg;
  m.def("orthonormalize_fits", &cuda_orthonormalize_fits, py::kw_only(), arg("rows"), arg("cols"),
        arg("device"), "Whether a block of the device holds a matrix of this shape.");
  m.def("orthonormalize", &orthonormalize, py::kw_only(), arg("Y"), arg("dtype"), arg("count"),
        arg("rows"), arg("cols"), arg("matrix_stride"), arg("row_stride"), arg("col_stride"),
        arg("Q"), arg("R"), arg("info"), arg("device"), arg("stream"),
        "Orthonormal columns of matrices that fit shared memory, one block each.");
}

}  // namespace subkern
