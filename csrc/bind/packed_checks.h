// What the bindings of AdamW on listed entries check, on the CPU and on a device.
#pragma once

#include "checks.h"
#include "subkern/packed_adamw.h"

namespace subkern {

using PackedSizes = std::vector<std::int64_t>;
using PackedFlags = std::vector<unsigned char>;

// The lists of a call, checked and typed; sizes and flags must live as long. Whether indices are in
// range is left to who can read them.
class PackedLists {
 public:
  PackedLists(const Check& check, const Addresses& W, const Addresses& G, const Addresses& indices,
              const Addresses& exp_avg, const Addresses& exp_avg_sq, const Addresses& step,
              const PackedSizes& numel, const PackedSizes& listed, const PackedFlags& packed,
              const PackedFlags& per_entry, int w_dtype, bool wide)
      : W_(as_pointers<void>(W)),
        G_(as_pointers<const void>(G)),
        indices_(as_pointers<const void>(indices)),
        exp_avg_(as_pointers<float>(exp_avg)),
        exp_avg_sq_(as_pointers<float>(exp_avg_sq)),
        step_(as_pointers<float>(step)),
        numel_(numel),
        listed_(listed),
        packed_(packed),
        per_entry_(per_entry),
        dtype_(check.dtype("w_dtype", w_dtype)),
        wide_(wide) {
    const std::size_t count = W.size();
    check.length("numel", numel, count);
    check.length("listed", listed, count);
    check.length("packed", packed, count);
    check.length("per_entry", per_entry, count);
    for (const std::int64_t n : numel) check.elements("numel", n, "1", 1);
    for (const std::int64_t n : listed) check.elements("listed", n, "1", 1);
    check.length("step", step, count);
    for (std::size_t p = 0; p < count; ++p) {
      check.pointer("step", step[p], !per_entry[p] || listed[p] > 0);
    }
    const std::pair<const char*, const Addresses&> buffers[] = {
        {"W", W}, {"G", G}, {"indices", indices}, {"exp_avg", exp_avg}, {"exp_avg_sq", exp_avg_sq}};
    for (const auto& [name, list] : buffers) {
      check.length(name, list, count);
      for (std::size_t p = 0; p < count; ++p) check.pointer(name, list[p], listed[p] > 0);
    }
  }

  PackedList list() const {
    return {static_cast<std::int64_t>(W_.size()),
            W_.data(),
            G_.data(),
            indices_.data(),
            exp_avg_.data(),
            exp_avg_sq_.data(),
            step_.data(),
            numel_.data(),
            listed_.data(),
            packed_.data(),
            per_entry_.data(),
            dtype_,
            wide_};
  }

 private:
  std::vector<void*> W_;
  std::vector<const void*> G_, indices_;
  std::vector<float*> exp_avg_, exp_avg_sq_, step_;
  const PackedSizes &numel_, &listed_;
  const PackedFlags &packed_, &per_entry_;
  Dtype dtype_;
  bool wide_;
};

}  // namespace subkern
