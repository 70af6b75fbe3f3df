// Binding of mask updates on a CUDA device.
#include "cuda_bindings.h"
#include "subkern/cuda/kth_largest.h"
#include "subkern/cuda/update_mask.h"

namespace subkern {
namespace {

LaunchCounter update_mask_launches("update_mask");

void check_count(const Check& check, std::int64_t n) {
  if (n < 1 || n >= kCudaSelectMost) check.fail("n", "be in [1, 2^40)", std::to_string(n));
}

std::int64_t update_mask_bytes(std::int64_t n) {
  check_count(Check("update_mask_workspace"), n);
  return cuda_update_mask_workspace(n);
}

void update_mask(Address score_remove, Address score_add, int dtype, Address mask, std::int64_t n,
                 std::int64_t n_swap, Address new_mask, Address removed, Address added,
                 Address scratch, std::int64_t scratch_bytes, int device, Address stream) {
  const Check check("update_mask");
  check_count(check, n);
  if (n_swap < 1 || n_swap > n) {
    check.fail("n_swap", "be in [1, " + std::to_string(n) + "]", std::to_string(n_swap));
  }
  const std::pair<const char*, Address> buffers[] = {
      {"score_remove", score_remove}, {"score_add", score_add}, {"mask", mask},
      {"new_mask", new_mask},         {"removed", removed},     {"added", added}};
  for (const auto& [name, address] : buffers) check.pointer(name, address, true);
  check.scratch(scratch, scratch_bytes, cuda_update_mask_workspace(n));
  const CudaUpdateMask call{as<const void>(score_remove),
                            as<const void>(score_add),
                            check.dtype("dtype", dtype),
                            as<const std::uint8_t>(mask),
                            n,
                            n_swap,
                            as<std::uint8_t>(new_mask),
                            as<std::int64_t>(removed),
                            as<std::int64_t>(added),
                            as<void>(scratch)};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_update_mask(call, queue, &launches);
  }
  update_mask_launches += launches;
  check_status("update_mask", status);
}

}  // namespace

void bind_cuda_update_mask(py::module_& m) {
  using py::arg;
  m.def("update_mask_workspace", &update_mask_bytes, py::kw_only(), arg("n"),
        "Bytes of scratch that update_mask needs.");
  m.def("update_mask", &update_mask, py::kw_only(), arg("score_remove"), arg("score_add"),
        arg("dtype"), arg("mask"), arg("n"), arg("n_swap"), arg("new_mask"), arg("removed"),
        arg("added"), arg("scratch"), arg("scratch_bytes"), arg("device"), arg("stream"),
        "Swaps n_swap entries of a mask. `scratch` is zero.");
}

}  // namespace subkern
