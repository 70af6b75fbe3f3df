// What the bindings of Sparse Spectral Training check, on the CPU and on a device.
#pragma once

#include "checks.h"
#include "subkern/sst_adamw.h"

namespace subkern {

// The lists of a call, checked and typed; `rows` and `length` must live as long. Whether indices
// are rows of their tables is left to who can read them.
class SstLists {
 public:
  SstLists(const Check& check, const Addresses& X, const Addresses& G, const Addresses& exp_avg,
           const Addresses& exp_avg_sq, const Addresses& step, const Addresses& skipped,
           const Addresses& table, const Addresses& sampled, const std::vector<std::int64_t>& rows,
           const std::vector<std::int64_t>& length, const std::vector<std::int64_t>& table_rows,
           int dtype)
      : X_(as_pointers<void>(X)),
        G_(as_pointers<const void>(G)),
        exp_avg_(as_pointers<float>(exp_avg)),
        exp_avg_sq_(as_pointers<float>(exp_avg_sq)),
        step_(as_pointers<float>(step)),
        skipped_(as_pointers<float>(skipped)),
        table_(as_pointers<void>(table)),
        sampled_(as_pointers<const std::int64_t>(sampled)),
        rows_(rows),
        length_(length),
        dtype_(check.dtype("dtype", dtype)) {
    const std::size_t count = X.size();
    check.length("rows", rows, count);
    check.length("length", length, count);
    check.length("table_rows", table_rows, count);
    check.pointers("step", step, count);
    check.pointers("skipped", skipped, count);
    check.length("table", table, count);
    check.length("sampled", sampled, count);
    const std::pair<const char*, const Addresses&> buffers[] = {
        {"X", X}, {"G", G}, {"exp_avg", exp_avg}, {"exp_avg_sq", exp_avg_sq}};
    for (const auto& [name, list] : buffers) check.length(name, list, count);
    for (std::size_t p = 0; p < count; ++p) {
      const bool any = check.elements("rows", rows[p], "length", length[p]) > 0;
      for (const auto& [name, list] : buffers) check.pointer(name, list[p], any);
      check.pointer("sampled", sampled[p], table[p] != 0 && any);
      if (table[p] == 0 && rows[p] != 1) {
        check.fail("rows", "be 1 for values", std::to_string(rows[p]));
      }
    }
  }

  SstList list() const {
    return {static_cast<std::int64_t>(X_.size()),
            X_.data(),
            G_.data(),
            exp_avg_.data(),
            exp_avg_sq_.data(),
            step_.data(),
            skipped_.data(),
            table_.data(),
            sampled_.data(),
            rows_.data(),
            length_.data(),
            dtype_};
  }

 private:
  std::vector<void*> X_;
  std::vector<const void*> G_;
  std::vector<float*> exp_avg_, exp_avg_sq_, step_, skipped_;
  std::vector<void*> table_;
  std::vector<const std::int64_t*> sampled_;
  const std::vector<std::int64_t>&rows_, &length_;
  Dtype dtype_;
};

}  // namespace subkern
