// Blocks of several parameters, numbered consecutively.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace subkern {

class Tasks {
 public:
  void add(int64_t blocks) { ends_.push_back(total() + blocks); }
  int64_t total() const { return ends_.empty() ? 0 : ends_.back(); }
  // (position of the parameter, block within it)
  std::pair<int64_t, int64_t> find(int64_t task) const {
    const auto end = std::upper_bound(ends_.begin(), ends_.end(), task);
    const int64_t p = end - ends_.begin();
    return {p, task - (p == 0 ? 0 : ends_[p - 1])};
  }

 private:
  std::vector<int64_t> ends_;
};

}  // namespace subkern
