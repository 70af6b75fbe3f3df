// What the bindings of sampling check, on the CPU and on a device.
#pragma once

#include <tuple>

#include "checks.h"

namespace subkern {

// Address, bytes of an element, width, strides of batch, row and column, and where to.
using SampleSourceTuple = std::tuple<Address, std::int64_t, std::int64_t, std::int64_t,
                                     std::int64_t, std::int64_t, Address>;

inline void check_sample_sizes(const Check& check, std::int64_t count, std::int64_t n,
                               std::int64_t k) {
  const std::pair<const char*, std::int64_t> sizes[] = {{"count", count}, {"n", n}};
  for (const auto& [name, size] : sizes) {
    if (size < 0 || size >> 31 != 0) check.fail(name, "be in [0, 2^31)", std::to_string(size));
  }
  if (k < 0 || k > n) check.fail("k", "be in [0, n]", std::to_string(k));
}

inline void check_sample_pointers(const Check& check, std::int64_t count, std::int64_t n,
                                  std::int64_t k, Address weights, Address idx, Address info,
                                  const std::vector<SampleSourceTuple>& sources) {
  const bool any = count > 0 && k > 0;
  check.pointer("weights", weights, count > 0 && n > 0);
  check.pointer("idx", idx, any);
  check.pointer("info", info, count > 0);
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const auto& [source, size, width, batch, row, col, out] = sources[i];
    const std::string name = "sources[" + std::to_string(i) + "]";
    if (size != 1 && size != 2 && size != 4 && size != 8 && size != 16) {
      check.fail(name, "have elements of 1, 2, 4, 8 or 16 bytes", std::to_string(size));
    }
    if (width < 0) check.fail(name, "have a width of zero or more", std::to_string(width));
    check.pointer(name, source, any && width > 0);
    check.pointer(name + "'s result", out, any && width > 0);
  }
}

}  // namespace subkern
