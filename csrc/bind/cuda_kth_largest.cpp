// Binding of the k-th largest element on a CUDA device.
#include "cuda_bindings.h"
#include "subkern/cuda/kth_largest.h"

namespace subkern {
namespace {

LaunchCounter kth_largest_launches("kth_largest");

void kth_largest(Address x, int dtype, std::int64_t n, std::int64_t k, bool magnitude,
                 Address value, Address above, Address equal, Address scratch,
                 std::int64_t scratch_bytes, int device, Address stream) {
  const Check check("kth_largest");
  if (n < 1 || n >= kCudaSelectMost) check.fail("n", "be in [1, 2^40)", std::to_string(n));
  if (k < 1 || k > n) check.fail("k", "be in [1, " + std::to_string(n) + "]", std::to_string(k));
  const std::pair<const char*, Address> buffers[] = {
      {"x", x}, {"value", value}, {"above", above}, {"equal", equal}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, true);
  check.scratch(scratch, scratch_bytes, cuda_kth_largest_workspace());
  const CudaKthLargest call{as<const void>(x),
                            check.dtype("dtype", dtype),
                            n,
                            k,
                            magnitude,
                            as<void>(value),
                            as<std::int64_t>(above),
                            as<std::int64_t>(equal),
                            as<void>(scratch)};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_kth_largest(call, queue, &launches);
  }
  kth_largest_launches += launches;
  check_status("kth_largest", status);
}

}  // namespace

void bind_cuda_kth_largest(py::module_& m) {
  using py::arg;
  m.def("kth_largest_workspace", &cuda_kth_largest_workspace,
        "Bytes of scratch that kth_largest needs.");
  m.def("kth_largest", &kth_largest, py::kw_only(), arg("x"), arg("dtype"), arg("n"), arg("k"),
        arg("magnitude"), arg("value"), arg("above"), arg("equal"), arg("scratch"),
        arg("scratch_bytes"), arg("device"), arg("stream"),
        "The k-th largest of n numbers, and how many are above and equal. `scratch` is zero.");
}

}  // namespace subkern
