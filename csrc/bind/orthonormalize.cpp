// Binding of the orthonormalization of a batch.
#include "subkern/orthonormalize.h"

#include "bindings.h"
#include "checks.h"

namespace subkern {
namespace {

Counter orthonormalize_calls("orthonormalize");

void check_orthonormalize(const Check& check, std::int64_t m, std::int64_t k) {
  check.elements("m", m, "k", k);
  if (k > m || k > kOrthonormalizeColumns) {
    check.fail("k", "be at most m and " + std::to_string(kOrthonormalizeColumns),
               std::to_string(k));
  }
}

std::int64_t orthonormalize_bytes(std::int64_t m, std::int64_t k, int threads) {
  const Check check("orthonormalize_workspace");
  check_orthonormalize(check, m, k);
  check.threads(threads);
  return orthonormalize_workspace(m, k, threads);
}

void orthonormalize(Address Y, int dtype, std::int64_t count, std::int64_t m, std::int64_t k,
                    std::int64_t matrix_stride, std::int64_t row_stride, std::int64_t col_stride,
                    Address Q, Address R, Address info, Address scratch, int threads) {
  const Check check("orthonormalize");
  check_orthonormalize(check, m, k);
  check.elements("count", count, "m * k", m * k);
  check.threads(threads);
  const bool needed = count > 0 && k > 0;
  check.pointer("Y", Y, needed);
  check.pointer("Q", Q, needed);
  check.pointer("R", R, needed);
  check.pointer("info", info, needed);
  check.pointer("scratch", scratch, needed);
  if (scratch % 64 != 0) check.fail("scratch", "be aligned to 64", std::to_string(scratch % 64));
  const OrthonormalizeBlock batch{as<const void>(Y),
                                  check.dtype("dtype", dtype),
                                  count,
                                  m,
                                  k,
                                  matrix_stride,
                                  row_stride,
                                  col_stride,
                                  as<float>(Q),
                                  as<float>(R),
                                  as<std::int32_t>(info),
                                  as<void>(scratch),
                                  false,
                                  0};
  if (needed) {
    py::gil_scoped_release release;
    sk_orthonormalize(batch, threads);
  }
  ++orthonormalize_calls;
}

}  // namespace

void bind_orthonormalize(py::module_& m) {
  using py::arg;
  m.def("orthonormalize_workspace", &orthonormalize_bytes, py::kw_only(), arg("m"), arg("k"),
        arg("threads"), "Bytes of scratch of orthonormalize.");
  m.def("orthonormalize", &orthonormalize, py::kw_only(), arg("Y"), arg("dtype"), arg("count"),
        arg("m"), arg("k"), arg("matrix_stride"), arg("row_stride"), arg("col_stride"), arg("Q"),
        arg("R"), arg("info"), arg("scratch"), arg("threads"),
        "Q, R and info of a batch of matrices; info is OR-ed in.");
}

}  // namespace subkern
