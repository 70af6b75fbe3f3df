// Binding of the k-th largest element.
#include "subkern/kth_largest.h"

#include <cstring>

#include "bindings.h"
#include "checks.h"

namespace subkern {
namespace {

Counter kth_largest_calls("kth_largest");

std::int64_t kth_largest_bytes(std::int64_t n, int threads) {
  const Check check("kth_largest_workspace");
  check.elements("n", n, "1", 1);
  check.threads(threads);
  return kth_largest_workspace(n, threads);
}

bool kth_largest(Address x, int dtype, std::int64_t n, std::int64_t k, bool magnitude,
                 Address value, Address above, Address equal, Address space,
                 std::int64_t workspace_bytes, int threads) {
  const Check check("kth_largest");
  check.elements("n", n, "1", 1);
  check.threads(threads);
  if (k < 1 || k > n) check.fail("k", "be in [1, " + std::to_string(n) + "]", std::to_string(k));
  check.pointer("x", x, true);
  check.pointer("value", value, true);
  check.pointer("above", above, true);
  check.pointer("equal", equal, true);
  check.workspace(space, workspace_bytes, kth_largest_workspace(n, threads));
  const Scores scores{as<const void>(x), check.dtype("dtype", dtype),
                      magnitude ? kMagnitude : kPlain, nullptr};
  Kth found;
  {
    py::gil_scoped_release release;
    found = sk_kth_largest(scores, n, n, k, nullptr, as<void>(space), threads);
  }
  if (scores.dtype == kFloat32) {
    *as<float>(value) = found.value;
  } else {  // one of the numbers, and thus exact
    std::uint32_t bits;
    std::memcpy(&bits, &found.value, sizeof(bits));
    *as<std::uint16_t>(value) = static_cast<std::uint16_t>(bits >> 16);
  }
  *as<std::int64_t>(above) = found.above;
  *as<std::int64_t>(equal) = found.equal;
  ++kth_largest_calls;
  return found.bracketed;
}

}  // namespace

void bind_kth_largest(py::module_& m) {
  using py::arg;
  m.def("kth_largest_workspace", &kth_largest_bytes, py::kw_only(), arg("n"), arg("threads"),
        "Bytes of scratch that kth_largest needs.");
  m.def("kth_largest", &kth_largest, py::kw_only(), arg("x"), arg("dtype"), arg("n"), arg("k"),
        arg("magnitude"), arg("value"), arg("above"), arg("equal"), arg("workspace"),
        arg("workspace_bytes"), arg("threads"),
        "The k-th largest of n numbers; returns whether the sample's bracket held.");
}

}  // namespace subkern
