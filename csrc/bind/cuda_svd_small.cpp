// Binding of svd_small on a CUDA device.
#include <algorithm>

#include "cuda_bindings.h"
#include "subkern/cuda/svd_small.h"

namespace subkern {
namespace {

LaunchCounter svd_small_launches("svd_small");

void svd_small(Address A, int dtype, std::int64_t batch, std::int64_t m, std::int64_t n,
               std::int64_t batch_stride, std::int64_t row_stride, std::int64_t col_stride,
               Address U, Address S, Address Vh, Address info, int device, Address stream) {
  const Check check("svd_small");
  check.elements("m", m, "n", n);
  if (batch < 0 || batch >> 31 != 0) check.fail("batch", "be in [0, 2^31)", std::to_string(batch));
  const CudaQueue queue = to_queue(check, device, stream);
  const bool any = batch > 0 && m > 0 && n > 0;
  if (any && !cuda_svd_small_fits(m, n, device)) {
    check.fail(m > n ? "m" : "n", "fit a kernel", std::to_string(std::max(m, n)));
  }
  const std::pair<const char*, Address> buffers[] = {
      {"A", A}, {"U", U}, {"S", S}, {"Vh", Vh}, {"info", info}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, any);
  const CudaSvdSmall call{as<const void>(A),
                          check.dtype("dtype", dtype),
                          batch,
                          m,
                          n,
                          batch_stride,
                          row_stride,
                          col_stride,
                          as<float>(U),
                          as<float>(S),
                          as<float>(Vh),
                          as<std::int32_t>(info)};
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_svd_small(call, queue, &launches);
  }
  svd_small_launches += launches;
  check_status("svd_small", status);
}

}  // namespace

void bind_cuda_svd_small(py::module_& m) {
  using py::arg;
  m.def("svd_small_fits", &cuda_svd_small_fits, py::kw_only(), arg("m"), arg("n"), arg("device"),
        "Whether a kernel takes matrices of this shape.");
  m.def("svd_small", &svd_small, py::kw_only(), arg("A"), arg("dtype"), arg("batch"), arg("m"),
        arg("n"), arg("batch_stride"), arg("row_stride"), arg("col_stride"), arg("U"), arg("S"),
        arg("Vh"), arg("info"), arg("device"), arg("stream"),
        "Singular value decompositions of small matrices, and of tall ones that fit a block.");
}

}  // namespace subkern
