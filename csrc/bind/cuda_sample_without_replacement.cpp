// Binding of weighted sampling without replacement on a CUDA device.
#include "cuda_bindings.h"
#include "sample_checks.h"
#include "subkern/cuda/sample_without_replacement.h"

namespace subkern {
namespace {

LaunchCounter sample_launches("sample_without_replacement");

std::int64_t sample_bytes(std::int64_t count, std::int64_t n, std::int64_t k, bool sorted) {
  check_sample_sizes(Check("sample_without_replacement_workspace"), count, n, k);
  return cuda_sample_workspace(count, n, k, sorted);
}

void sample(Address weights, int dtype, std::int64_t count, std::int64_t n, std::int64_t k,
            std::int64_t row_stride, std::uint64_t seed, std::uint64_t offset, bool sorted,
            Address idx, Address info, const std::vector<SampleSourceTuple>& sources,
            Address scratch, std::int64_t scratch_bytes, int device, Address stream) {
  const Check check("sample_without_replacement");
  check_sample_sizes(check, count, n, k);
  check_sample_pointers(check, count, n, k, weights, idx, info, sources);
  if (sources.size() > kCudaSampleGathers) {
    check.fail("sources", "be at most " + std::to_string(kCudaSampleGathers),
               std::to_string(sources.size()));
  }
  const std::int64_t needed = cuda_sample_workspace(count, n, k, sorted);
  if (scratch_bytes < needed) {
    check.fail("scratch_bytes", "be at least " + std::to_string(needed),
               std::to_string(scratch_bytes));
  }
  check.pointer("scratch", scratch, needed > 0);
  std::vector<CudaSampleGather> gathers;
  for (const auto& [source, size, width, batch, row, col, out] : sources) {
    gathers.push_back({as<const void>(source), as<void>(out), size, width, batch, row, col});
  }
  const CudaSample call{as<const void>(weights),
                        check.dtype("dtype", dtype),
                        count,
                        n,
                        k,
                        row_stride,
                        seed,
                        offset,
                        sorted,
                        as<std::int64_t>(idx),
                        as<std::int32_t>(info),
                        gathers.data(),
                        static_cast<std::int64_t>(gathers.size()),
                        as<void>(scratch)};
  const CudaQueue queue = to_queue(check, device, stream);
  std::int64_t launches = 0;
  int status = 0;
  {
    py::gil_scoped_release release;
    status = cuda_sample(call, queue, &launches);
  }
  sample_launches += launches;
  check_status("sample_without_replacement", status);
}

}  // namespace

void bind_cuda_sample_without_replacement(py::module_& m) {
  using py::arg;
  m.def("sample_without_replacement_workspace", &sample_bytes, py::kw_only(), arg("count"),
        arg("n"), arg("k"), arg("sorted"),
        "Bytes of scratch that sample_without_replacement needs.");
  m.def("sample_without_replacement", &sample, py::kw_only(), arg("weights"), arg("dtype"),
        arg("count"), arg("n"), arg("k"), arg("row_stride"), arg("seed"), arg("offset"),
        arg("sorted"), arg("idx"), arg("info"), arg("sources"), arg("scratch"),
        arg("scratch_bytes"), arg("device"), arg("stream"),
        "Columns of each row, drawn by weight, and the rows of `sources` that they name.");
}

}  // namespace subkern
