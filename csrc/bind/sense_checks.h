// What the bindings of multi-coil imaging check alike.
#pragma once

#include <string>
#include <utility>

#include "../cuda/fft_plan.h"
#include "checks.h"

namespace subkern {

// The sizes of maps, weights and images; `images` may be zero.
inline void check_sense_sizes(const Check& check, bool line, std::int64_t images,
                              std::int64_t map_sets, std::int64_t weight_sets, std::int64_t coils,
                              std::int64_t h, std::int64_t w) {
  const std::pair<const char*, std::int64_t> counts[] = {
      {"map_sets", map_sets}, {"weight_sets", weight_sets}, {"coils", coils}};
  for (const auto& [name, count] : counts) {
    if (count < 1 || count >> 20 != 0) check.fail(name, "be in [1, 2^20)", std::to_string(count));
  }
  if (images < 0 || images >> 20 != 0) {
    check.fail("images", "be in [0, 2^20)", std::to_string(images));
  }
  if (h < 0 || h >> 20 != 0) check.fail("h", "be in [0, 2^20)", std::to_string(h));
  const std::pair<const char*, std::int64_t> lengths[] = {{"w", w}, {"h", line ? w : h}};
  for (const auto& [name, length] : lengths) {
    if (!fft_serves(length)) {
      check.fail(name, "be in [2, 1024] with the factors 2, 3 and 5", std::to_string(length));
    }
  }
  check.elements("map_sets", map_sets * coils, "h", h * w);
  check.elements("images", images, "h", h * w);
}

inline void check_sense_packed(const Check& check, Address packed, std::int64_t floats,
                               std::int64_t needed) {
  check.pointer("packed", packed, true);
  if (floats < needed) {
    check.fail("packed_floats", "be at least " + std::to_string(needed), std::to_string(floats));
  }
}

}  // namespace subkern
