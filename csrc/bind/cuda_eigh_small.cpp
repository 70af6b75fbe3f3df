// Binding of eigh_small on a CUDA device.
#include "cuda_bindings.h"
#include "subkern/cuda/eigh_small.h"
#include "subkern/cuda/small_launch.h"

namespace subkern {
namespace {

LaunchCounter eigh_small_launches("eigh_small");

void eigh_small(Address C, int dtype, std::int64_t batch, std::int64_t n, std::int64_t batch_stride,
                std::int64_t row_stride, std::int64_t col_stride, Address w, Address V,
                Address info, int device, Address stream) {
  const Check check("eigh_small");
  check.batch_of_small(batch, {{"n", n}}, kMostSmall);
  const bool any = batch > 0 && n > 0;
  const std::pair<const char*, Address> buffers[] = {{"C", C}, {"w", w}, {"V", V}, {"info", info}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, any);
  const CudaEighSmall call{as<const void>(C),
                           check.dtype("dtype", dtype),
                           batch,
                           n,
                           batch_stride,
                           row_stride,
                           col_stride,
                           as<float>(w),
                           as<float>(V),
                           as<std::int32_t>(info)};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_eigh_small(call, queue, &launches);
  }
  eigh_small_launches += launches;
  check_status("eigh_small", status);
}

}  // namespace

void bind_cuda_eigh_small(py::module_& m) {
  using py::arg;
  m.def("eigh_small", &eigh_small, py::kw_only(), arg("C"), arg("dtype"), arg("batch"), arg("n"),
        arg("batch_stride"), arg("row_stride"), arg("col_stride"), arg("w"), arg("V"), arg("info"),
        arg("device"), arg("stream"), "Eigen-decompositions of symmetric matrices up to 64 x 64.");
}

}  // namespace subkern
