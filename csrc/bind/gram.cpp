// Binding of Gram matrices.
#include "subkern/gram.h"

#include "bindings.h"
#include "checks.h"

namespace subkern {
namespace {

Counter gram_calls("gram");

std::int64_t gram_bytes(std::int64_t side, bool wide, int threads) {
  const Check check("gram");
  check.size("side", side);
  check.threads(threads);
  GramBatch batch{};
  batch.side = side;
  batch.wide = wide;
  return gram_workspace(batch, threads);
}

void gram(Address X, int dtype, std::int64_t batch, std::int64_t depth, std::int64_t side,
          std::int64_t batch_stride, std::int64_t depth_stride, std::int64_t side_stride, Address G,
          bool wide, bool wide_out, Address scratch, std::int64_t scratch_bytes, int threads) {
  const Check check("gram");
  check.size("batch", batch);
  const std::int64_t elements = check.elements("depth", depth, "side", side);
  const std::int64_t squares = check.elements("side", side, "side", side);
  check.pointer("X", X, batch > 0 && elements > 0);
  check.pointer("G", G, batch > 0 && squares > 0);
  check.threads(threads);
  if (wide_out && !wide) check.fail("wide_out", "come with wide", "True");
  const GramBatch call{as<const void>(X),
                       check.dtype("dtype", dtype),
                       batch,
                       depth,
                       side,
                       batch_stride,
                       depth_stride,
                       side_stride,
                       as<void>(G),
                       wide,
                       wide_out};
  const std::int64_t needed = gram_workspace(call, threads);
  if (scratch_bytes < needed) {
    check.fail("scratch_bytes", "be at least " + std::to_string(needed),
               std::to_string(scratch_bytes));
  }
  check.pointer("scratch", scratch, true);
  {
    py::gil_scoped_release release;
    sk_gram(call, as<void>(scratch), threads);
  }
  ++gram_calls;
}

}  // namespace

void bind_gram(py::module_& m) {
  using py::arg;
  m.def("gram_workspace", &gram_bytes, py::kw_only(), arg("side"), arg("wide"), arg("threads"),
        "Bytes of scratch that gram needs.");
  m.def("gram", &gram, py::kw_only(), arg("X"), arg("dtype"), arg("batch"), arg("depth"),
        arg("side"), arg("batch_stride"), arg("depth_stride"), arg("side_stride"), arg("G"),
        arg("wide"), arg("wide_out"), arg("scratch"), arg("scratch_bytes"), arg("threads"),
        "X^T X of a batch, the sums in float or double.");
}

}  // namespace subkern
