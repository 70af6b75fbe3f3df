// Binding of the step of Sparse Spectral Training on a CUDA device.
#include "cuda_bindings.h"
#include "sst_checks.h"
#include "subkern/cuda/sst_adamw.h"

namespace subkern {
namespace {

LaunchCounter sst_adamw_launches("sst_adamw");

void sst_adamw(const Addresses& X, const Addresses& G, const Addresses& exp_avg,
               const Addresses& exp_avg_sq, const Addresses& step, const Addresses& skipped,
               const Addresses& table, const Addresses& sampled,
               const std::vector<std::int64_t>& rows, const std::vector<std::int64_t>& length,
               const std::vector<std::int64_t>& table_rows, int dtype, double lr,
               Address lr_address, double value_scale, double vector_scale, double beta1,
               double beta2, double eps, double weight_decay, std::int64_t warmup,
               bool skip_nonfinite, Address counters, int device, Address stream) {
  const Check check("sst_adamw");
  const SstLists lists(check, X, G, exp_avg, exp_avg_sq, step, skipped, table, sampled, rows,
                       length, table_rows, dtype);
  const std::pair<const char*, const std::vector<std::int64_t>&> sizes[] = {
      {"rows", rows}, {"length", length}, {"table_rows", table_rows}};
  for (const auto& [name, list] : sizes) {
    std::int64_t total = 0;
    for (const std::int64_t size : list) total += size >> 31 == 0 ? size : std::int64_t{1} << 31;
    if (total >> 31 != 0) check.fail(name, "be below 2^31 together", std::to_string(total));
  }
  check.pointer("counters", counters, !X.empty());
  const CudaSst call{lists.list(), table_rows.data(), as<std::int32_t>(counters)};
  const CudaSstOptions options{lr,          as<const float>(lr_address),
                               value_scale, vector_scale,
                               beta1,       beta2,
                               eps,         weight_decay,
                               warmup,      skip_nonfinite};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_sst_adamw(call, options, queue, &launches);
  }
  sst_adamw_launches += launches;
  check_status("sst_adamw", status);
}

}  // namespace

void bind_cuda_sst_adamw(py::module_& m) {
  using py::arg;
  m.def("sst_adamw", &sst_adamw, py::kw_only(), arg("X"), arg("G"), arg("exp_avg"),
        arg("exp_avg_sq"), arg("step"), arg("skipped"), arg("table"), arg("sampled"), arg("rows"),
        arg("length"), arg("table_rows"), arg("dtype"), arg("lr"), arg("lr_address"),
        arg("value_scale"), arg("vector_scale"), arg("beta1"), arg("beta2"), arg("eps"),
        arg("weight_decay"), arg("warmup"), arg("skip_nonfinite"), arg("counters"), arg("device"),
        arg("stream"),
        "One step of Sparse Spectral Training; table 0 marks singular values, rows must be 1. "
        "`counters` has an int32 zero for each entry.");
}

}  // namespace subkern
