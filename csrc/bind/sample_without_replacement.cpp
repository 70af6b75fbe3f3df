// Binding of weighted sampling without replacement.
#include "subkern/sample_without_replacement.h"

#include "bindings.h"
#include "checks.h"
#include "sample_checks.h"

namespace subkern {
namespace {

Counter sample_calls("sample_without_replacement");

std::int64_t sample_bytes(std::int64_t n, std::int64_t k, int threads) {
  const Check check("sample_without_replacement_workspace");
  check_sample_sizes(check, 0, n, k);
  check.threads(threads);
  return sample_workspace(n, k, threads);
}

void sample(Address weights, int dtype, std::int64_t count, std::int64_t n, std::int64_t k,
            std::int64_t row_stride, std::uint64_t seed, std::uint64_t offset, bool sorted,
            Address idx, Address info, const std::vector<SampleSourceTuple>& sources,
            Address workspace, std::int64_t workspace_bytes, int threads) {
  const Check check("sample_without_replacement");
  check_sample_sizes(check, count, n, k);
  check.threads(threads);
  check_sample_pointers(check, count, n, k, weights, idx, info, sources);
  const std::int64_t needed = sample_workspace(n, k, threads);
  if (workspace_bytes < needed) {
    check.fail("workspace_bytes", "be at least " + std::to_string(needed),
               std::to_string(workspace_bytes));
  }
  check.pointer("workspace", workspace, count > 0);
  std::vector<SampleGather> gathers;
  for (const auto& [source, size, width, batch, row, col, out] : sources) {
    gathers.push_back({as<const void>(source), size, width, batch, row, col, as<void>(out)});
  }
  const SampleBatch batch{as<const void>(weights),
                          check.dtype("dtype", dtype),
                          count,
                          n,
                          k,
                          row_stride,
                          seed,
                          offset,
                          sorted,
                          as<std::int64_t>(idx),
                          as<std::int32_t>(info)};
  {
    py::gil_scoped_release release;
    sk_sample(batch, gathers.data(), static_cast<std::int64_t>(gathers.size()), as<void>(workspace),
              threads);
  }
  ++sample_calls;
}

}  // namespace

void bind_sample_without_replacement(py::module_& m) {
  using py::arg;
  m.def("sample_without_replacement_workspace", &sample_bytes, py::kw_only(), arg("n"), arg("k"),
        arg("threads"), "Bytes of scratch that sample_without_replacement needs.");
  m.def("sample_without_replacement", &sample, py::kw_only(), arg("weights"), arg("dtype"),
        arg("count"), arg("n"), arg("k"), arg("row_stride"), arg("seed"), arg("offset"),
        arg("sorted"), arg("idx"), arg("info"), arg("sources"), arg("workspace"),
        arg("workspace_bytes"), arg("threads"),
        "Columns of each row, drawn by weight; then the rows of `sources` (address, bytes of an "
        "element, width, strides of batch, row and column, address of the result) that they name.");
}

}  // namespace subkern
