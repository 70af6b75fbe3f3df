// Binding of weighted sampling without replacement.
#include "subkern/sample_without_replacement.h"

#include "bindings.h"
#include "checks.h"

namespace subkern {
namespace {

Counter sample_calls("sample_without_replacement");

constexpr std::int64_t kMost = (std::int64_t{1} << 31) - 1;

void check_sizes(const Check& check, std::int64_t n, std::int64_t k, int threads) {
  if (n < 0 || n > kMost) check.fail("n", "be in [0, 2^31)", std::to_string(n));
  if (k < 0 || k > n) check.fail("k", "be in [0, n]", std::to_string(k));
  check.threads(threads);
}

std::int64_t workspace_bytes(std::int64_t n, std::int64_t k, int threads) {
  check_sizes(Check("sample_without_replacement_workspace"), n, k, threads);
  return sample_workspace(n, k, threads);
}

// Address, bytes of an element, width, strides of batch, row and column, and where to.
using Source = std::tuple<Address, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                          std::int64_t, Address>;

std::vector<SampleGather> to_gathers(const Check& check, const std::vector<Source>& sources,
                                     bool any) {
  std::vector<SampleGather> found;
  for (const auto& [source, size, width, batch, row, col, out] : sources) {
    const std::string name = "sources[" + std::to_string(found.size()) + "]";
    if (size != 1 && size != 2 && size != 4 && size != 8 && size != 16) {
      check.fail(name, "have elements of 1, 2, 4, 8 or 16 bytes", std::to_string(size));
    }
    if (width < 0) check.fail(name, "have a width of zero or more", std::to_string(width));
    check.pointer(name, source, any && width > 0);
    check.pointer(name + "'s result", out, any && width > 0);
    found.push_back({as<const void>(source), size, width, batch, row, col, as<void>(out)});
  }
  return found;
}

void sample(Address weights, int dtype, std::int64_t count, std::int64_t n, std::int64_t k,
            std::int64_t row_stride, std::uint64_t seed, std::uint64_t offset, bool sorted,
            Address idx, Address info, const std::vector<Source>& sources, Address workspace,
            std::int64_t workspace_bytes, int threads) {
  const Check check("sample_without_replacement");
  check_sizes(check, n, k, threads);
  if (count < 0 || count > kMost) check.fail("count", "be in [0, 2^31)", std::to_string(count));
  const bool any = count > 0 && k > 0;
  check.pointer("weights", weights, count > 0 && n > 0);
  check.pointer("idx", idx, any);
  check.pointer("info", info, count > 0);
  const std::int64_t needed = sample_workspace(n, k, threads);
  if (workspace_bytes < needed) {
    check.fail("workspace_bytes", "be at least " + std::to_string(needed),
               std::to_string(workspace_bytes));
  }
  check.pointer("workspace", workspace, count > 0);
  const std::vector<SampleGather> gathers = to_gathers(check, sources, any);
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
  m.def("sample_without_replacement_workspace", &workspace_bytes, py::kw_only(), arg("n"), arg("k"),
        arg("threads"), "Bytes of scratch that sample_without_replacement needs.");
  m.def("sample_without_replacement", &sample, py::kw_only(), arg("weights"), arg("dtype"),
        arg("count"), arg("n"), arg("k"), arg("row_stride"), arg("seed"), arg("offset"),
        arg("sorted"), arg("idx"), arg("info"), arg("sources"), arg("workspace"),
        arg("workspace_bytes"), arg("threads"),
        "Columns of each row, drawn by weight; then the rows of `sources` (address, bytes of an "
        "element, width, strides of batch, row and column, address of the result) that they name.");
}

}  // namespace subkern
