// Binding of AdamW on listed entries on a CUDA device.
#include "cuda_bindings.h"
#include "packed_checks.h"
#include "subkern/cuda/packed_adamw.h"

namespace subkern {
namespace {

LaunchCounter packed_adamw_launches("packed_adamw");

void packed_adamw(const Addresses& W, const Addresses& G, const Addresses& indices,
                  const Addresses& exp_avg, const Addresses& exp_avg_sq, const Addresses& step,
                  const PackedSizes& numel, const PackedSizes& listed, const PackedFlags& packed,
                  const PackedFlags& per_entry, int w_dtype, bool wide, double lr,
                  Address lr_address, double beta1, double beta2, double eps, double weight_decay,
                  Address counters, int device, Address stream) {
  const Check check("packed_adamw");
  const PackedLists lists(check, W, G, indices, exp_avg, exp_avg_sq, step, numel, listed, packed,
                          per_entry, w_dtype, wide);
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  std::int64_t total = 0;
  for (const std::int64_t n : listed) total += n < kMost ? n : kMost;
  if (total >= kMost) check.fail("listed", "be below 2^40 together", std::to_string(total));
  check.pointer("counters", counters, !W.empty());
  const CudaPacked call{lists.list(), as<std::int32_t>(counters)};
  const CudaPackedOptions options{lr, as<const float>(lr_address), beta1, beta2, eps, weight_decay};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_packed_adamw(call, options, queue, &launches);
  }
  packed_adamw_launches += launches;
  check_status("packed_adamw", status);
}

}  // namespace

void bind_cuda_packed_adamw(py::module_& m) {
  using py::arg;
  m.def("packed_adamw", &packed_adamw, py::kw_only(), arg("W"), arg("G"), arg("indices"),
        arg("exp_avg"), arg("exp_avg_sq"), arg("step"), arg("numel"), arg("listed"), arg("packed"),
        arg("per_entry"), arg("w_dtype"), arg("wide"), arg("lr"), arg("lr_address"), arg("beta1"),
        arg("beta2"), arg("eps"), arg("weight_decay"), arg("counters"), arg("device"),
        arg("stream"),
        "AdamW on listed entries; one whose index is out of range is left alone. `counters` has "
        "an int32 zero for each parameter.");
}

}  // namespace subkern
