// Argument checks of the bindings. Message form: <op>: <argument> must <expectation>, got <value>.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "subkern/types.h"

namespace subkern {

using Address = std::uintptr_t;
using Addresses = std::vector<Address>;

template <class T>
T* as(Address address) {
  return reinterpret_cast<T*>(address);
}

// The addresses of a list, typed.
template <class T>
std::vector<T*> as_pointers(const Addresses& addresses) {
  std::vector<T*> pointers;
  pointers.reserve(addresses.size());
  for (const Address address : addresses) pointers.push_back(as<T>(address));
  return pointers;
}

inline std::vector<bool> to_bools(const std::vector<unsigned char>& flags) {
  return {flags.begin(), flags.end()};
}

class Check {
 public:
  explicit Check(const char* op) : op_(op) {}

  [[noreturn]] void fail(const std::string& argument, const std::string& expectation,
                         const std::string& value) const {
    throw pybind11::value_error(std::string(op_) + ": " + argument + " must " + expectation +
                                ", got " + value);
  }

  void size(const char* argument, std::int64_t value) const {
    if (value < 0) fail(argument, "be zero or more", std::to_string(value));
  }

  void threads(int value) const {
    if (value < 1) fail("threads", "be at least 1", std::to_string(value));
  }

  void one_of_two(const char* argument, int value) const {
    if (value != 0 && value != 1) fail(argument, "be 0 or 1", std::to_string(value));
  }

  Dtype dtype(const char* argument, int value) const {
    if (value != kFloat32 && value != kBFloat16) {
      fail(argument, "be 0 (float32) or 1 (bfloat16)", std::to_string(value));
    }
    return static_cast<Dtype>(value);
  }

  // rows * cols of a matrix; both non-negative and the product representable.
  std::int64_t elements(const char* rows_name, std::int64_t rows, const char* cols_name,
                        std::int64_t cols) const {
    size(rows_name, rows);
    size(cols_name, cols);
    std::int64_t product = 0;
    constexpr std::int64_t kMost = std::int64_t{1} << 60;
    if (__builtin_mul_overflow(rows, cols, &product) || product > kMost) {
      fail(cols_name, "keep the matrix below 2^60 elements", std::to_string(cols));
    }
    return product;
  }

  // `batch` matrices, none with a side longer than `most`.
  void batch_of_small(std::int64_t batch,
                      const std::vector<std::pair<const char*, std::int64_t>>& sides,
                      std::int64_t most) const {
    for (const auto& [name, side] : sides) {
      if (side < 0 || side > most) {
        fail(name, "be in [0, " + std::to_string(most) + "]", std::to_string(side));
      }
    }
    if (batch < 0 || batch >> 31 != 0) fail("batch", "be in [0, 2^31)", std::to_string(batch));
  }

  void pointer(const std::string& argument, Address address, bool needed) const {
    if (needed && address == 0) fail(argument, "be the address of a buffer", "0");
  }

  void workspace(Address address, std::int64_t bytes, std::int64_t needed) const {
    if (bytes < needed) {
      fail("workspace_bytes", "be at least " + std::to_string(needed), std::to_string(bytes));
    }
    pointer("workspace", address, needed > 0);
  }

  // Scratch of a CUDA kernel, which holds 64-bit numbers.
  void scratch(Address address, std::int64_t bytes, std::int64_t needed) const {
    if (bytes < needed) {
      fail("scratch_bytes", "be at least " + std::to_string(needed), std::to_string(bytes));
    }
    pointer("scratch", address, true);
    if (address % 8 != 0) fail("scratch", "be aligned to 8 bytes", std::to_string(address));
  }

  template <class T>
  void length(const char* argument, const std::vector<T>& list, std::size_t count) const {
    if (list.size() != count) {
      fail(argument, "have one entry per parameter (" + std::to_string(count) + ")",
           std::to_string(list.size()));
    }
  }

  // One address per parameter; entries may be zero only where `needed` is false.
  void pointers(const char* argument, const Addresses& list, std::size_t count,
                bool needed = true) const {
    length(argument, list, count);
    for (std::size_t p = 0; p < count; ++p) {
      if (needed && list[p] == 0) {
        fail(argument + ("[" + std::to_string(p) + "]"), "be the address of a buffer", "0");
      }
    }
  }

 private:
  const char* op_;
};

}  // namespace subkern
