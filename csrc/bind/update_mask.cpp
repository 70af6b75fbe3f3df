// Binding of mask updates.
#include "subkern/update_mask.h"

#include "bindings.h"
#include "checks.h"

namespace subkern {
namespace {

Counter update_mask_calls("update_mask");

std::int64_t update_mask_bytes(std::int64_t n, int threads) {
  const Check check("update_mask_workspace");
  check.elements("n", n, "1", 1);
  check.threads(threads);
  return update_mask_workspace(n, threads);
}

void update_mask(Address score_remove, Address score_add, int dtype, Address mask, std::int64_t n,
                 std::int64_t n_swap, Address new_mask, Address removed, Address added,
                 Address space, std::int64_t workspace_bytes, int threads) {
  const Check check("update_mask");
  check.elements("n", n, "1", 1);
  check.size("n_swap", n_swap);
  check.threads(threads);
  check.pointer("score_remove", score_remove, n > 0);
  check.pointer("score_add", score_add, n > 0);
  check.pointer("mask", mask, n > 0);
  check.pointer("new_mask", new_mask, n > 0);
  check.pointer("removed", removed, n_swap > 0);
  check.pointer("added", added, n_swap > 0);
  check.workspace(space, workspace_bytes, update_mask_workspace(n, threads));
  MaskSwap swap{as<const void>(score_remove),
                as<const void>(score_add),
                check.dtype("dtype", dtype),
                as<const std::uint8_t>(mask),
                n,
                0,
                n_swap,
                as<std::uint8_t>(new_mask),
                as<std::int64_t>(removed),
                as<std::int64_t>(added)};
  {
    py::gil_scoped_release release;
    swap.inside = mask_count(swap.mask, n, threads);
  }
  const std::pair<const char*, std::int64_t> sides[] = {{"inside", swap.inside},
                                                        {"outside", n - swap.inside}};
  for (const auto& [side, most] : sides) {
    if (n_swap > most) {
      check.fail("n_swap",
                 std::string("be at most the entries ") + side + " the mask (" +
                     std::to_string(most) + ")",
                 std::to_string(n_swap));
    }
  }
  {
    py::gil_scoped_release release;
    sk_update_mask(swap, as<void>(space), threads);
  }
  ++update_mask_calls;
}

}  // namespace

void bind_update_mask(py::module_& m) {
  using py::arg;
  m.def("update_mask_workspace", &update_mask_bytes, py::kw_only(), arg("n"), arg("threads"),
        "Bytes of scratch that update_mask needs.");
  m.def("update_mask", &update_mask, py::kw_only(), arg("score_remove"), arg("score_add"),
        arg("dtype"), arg("mask"), arg("n"), arg("n_swap"), arg("new_mask"), arg("removed"),
        arg("added"), arg("workspace"), arg("workspace_bytes"), arg("threads"),
        "Swaps n_swap entries of a mask; its count is judged before anything is written.");
}

}  // namespace subkern
