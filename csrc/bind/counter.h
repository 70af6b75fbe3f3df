// How often each entry point ran, so that tests and doctor can tell a silent fallback.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace subkern {

// A named count that lasts as long as the process; call_counts() lists all of a kind.
template <class Kind>
class CounterOf {
 public:
  explicit CounterOf(const char* name) : name_(name) { all().push_back(this); }
  CounterOf(const CounterOf&) = delete;
  void operator++() { ++count_; }
  void operator+=(std::int64_t n) { count_ += n; }

  static pybind11::dict counts() {
    pybind11::dict found;
    for (const CounterOf* counter : all()) found[counter->name_] = counter->count_.load();
    return found;
  }

 private:
  static std::vector<const CounterOf*>& all() {
    static std::vector<const CounterOf*> list;
    return list;
  }
  const char* name_;
  std::atomic<std::int64_t> count_{0};
};

using Counter = CounterOf<struct Calls>;           // of entry points on the CPU
using LaunchCounter = CounterOf<struct Launched>;  // of CUDA kernels

}  // namespace subkern
