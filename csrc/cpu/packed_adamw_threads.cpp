// AdamW on listed entries: the check of the indices, and the blocks of all parameters on threads.
#include <cmath>
#include <cstring>
#include <limits>

#include "subkern/packed_adamw.h"
#include "tasks.h"
#include "work.h"

namespace subkern {
namespace {

constexpr int64_t kEntries = 4096;  // listed entries of a block

const void* index_at(const PackedList& list, int64_t p, int64_t i) {
  return static_cast<const char*>(list.indices[p]) + i * (list.wide ? 8 : 4);
}

int64_t index_of(const PackedList& list, int64_t p, int64_t i) {
  return list.wide ? *static_cast<const int64_t*>(index_at(list, p, i))
                   : *static_cast<const int32_t*>(index_at(list, p, i));
}

Tasks blocks_of_entries(const PackedList& list, int64_t* entries) {
  Tasks tasks;
  *entries = 0;
  for (int64_t p = 0; p < list.count; ++p) {
    tasks.add(blocks_of(list.listed[p], kEntries));
    *entries += list.listed[p];
  }
  return tasks;
}

// Indices of one parameter that do not ascend: each in range, none twice.
IndexFault check_unordered(const PackedList& list, int64_t p, uint64_t* bits) {
  const int64_t n = list.listed[p], numel = list.numel[p];
  int64_t lowest, highest;
  active_kernels().sk_indices_range({list.indices[p], list.wide, n}, &lowest, &highest);
  if (lowest < 0) return {IndexFault::kRange, p, lowest};
  if (highest >= numel) return {IndexFault::kRange, p, highest};
  std::memset(bits, 0, static_cast<std::size_t>((numel + 63) / 64 * 8));
  for (int64_t i = 0; i < n; ++i) {
    const int64_t index = index_of(list, p, i);
    const uint64_t bit = uint64_t{1} << (index & 63);
    if (bits[index >> 6] & bit) return {IndexFault::kRepeated, p, index};
    bits[index >> 6] |= bit;
  }
  return {IndexFault::kNone, 0, 0};
}

}  // namespace

IndexFault check_indices(const PackedList& list, void* bits, int threads) {
  const Kernels& kernels = active_kernels();
  int64_t entries;
  const Tasks tasks = blocks_of_entries(list, &entries);
  std::vector<unsigned char> unordered(list.count);
#pragma omp parallel for num_threads(team_for(entries / 4, threads)) schedule(static)
  for (int64_t task = 0; task < tasks.total(); ++task) {
    const auto [p, block] = tasks.find(task);
    const int64_t from = block * kEntries;
    // With the first of the next block, where there is one.
    const int64_t n = std::min(kEntries + 1, list.listed[p] - from);
    if (!kernels.sk_indices_ascend({index_at(list, p, from), list.wide, n})) {
#pragma omp atomic write
      unordered[p] = 1;
    }
  }
  for (int64_t p = 0; p < list.count; ++p) {
    const int64_t n = list.listed[p];
    if (n == 0) continue;
    IndexFault fault{IndexFault::kNone, 0, 0};
    if (unordered[p]) {
      fault = check_unordered(list, p, static_cast<uint64_t*>(bits));
    } else if (index_of(list, p, 0) < 0) {
      fault = {IndexFault::kRange, p, index_of(list, p, 0)};
    } else if (index_of(list, p, n - 1) >= list.numel[p]) {
      fault = {IndexFault::kRange, p, index_of(list, p, n - 1)};
    }
    if (fault.kind != IndexFault::kNone) return fault;
  }
  return {IndexFault::kNone, 0, 0};
}

void sk_packed_adamw(const PackedList& list, const AdamOptions& o) {
  const Kernels& kernels = active_kernels();
  int64_t entries;
  const Tasks tasks = blocks_of_entries(list, &entries);
  std::vector<float> rate(list.count), inverse_root(list.count);
  for (int64_t p = 0; p < list.count; ++p) {
    rate[p] = static_cast<float>(o.lr);
    if (list.per_entry[p]) continue;
    const double t = *list.step[p] += 1.0f;
    rate[p] = static_cast<float>(o.lr / (1.0 - std::pow(o.beta1, t)));
    inverse_root[p] = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(o.beta2, t)));
  }
  // Of beta 0: its powers are 0, as those of any number whose logarithm is low enough.
  const auto log_of = [](double beta) {
    return beta > 0.0 ? static_cast<float>(std::log(beta)) : -1e30f;
  };
  const PackedBlock whole{nullptr,
                          nullptr,
                          list.dtype,
                          false,
                          nullptr,
                          list.wide,
                          nullptr,
                          nullptr,
                          nullptr,
                          0,
                          static_cast<float>(o.beta1),
                          static_cast<float>(1.0 - o.beta1),
                          static_cast<float>(o.beta2),
                          static_cast<float>(1.0 - o.beta2),
                          static_cast<float>(o.eps),
                          static_cast<float>(o.decay),
                          0.0f,
                          0.0f,
                          log_of(o.beta1),
                          log_of(o.beta2)};
#pragma omp parallel for num_threads(team_for(entries, o.threads)) schedule(dynamic)
  for (int64_t task = 0; task < tasks.total(); ++task) {
    const auto [p, index] = tasks.find(task);
    const int64_t from = index * kEntries;
    PackedBlock block = whole;
    block.W = list.W[p];
    block.packed = list.packed[p];
    block.G = block.packed ? at(list.G[p], list.dtype, from) : list.G[p];
    block.indices = index_at(list, p, from);
    block.M = list.exp_avg[p] + from;
    block.V = list.exp_avg_sq[p] + from;
    block.step = list.per_entry[p] ? list.step[p] + from : nullptr;
    block.n = std::min(kEntries, list.listed[p] - from);
    block.rate = rate[p];
    block.inverse_root = inverse_root[p];
    kernels.sk_packed_adamw_block(block);
  }
}

}  // namespace subkern
