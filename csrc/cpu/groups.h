// Groups of matrices handed out to threads, each with scratch of its own. Which thread takes which
// changes no bit. Used by files compiled once.
#pragma once

#include <omp.h>

#include "work.h"

namespace subkern {

constexpr int64_t kCacheLine = 64;

// Bytes per thread: one line more than a multiple of a page, so that threads use different sets of
// the caches.
inline int64_t thread_scratch(int64_t bytes) { return blocks_of(bytes, 4096) * 4096 + kCacheLine; }

inline int64_t scratch_for(int64_t bytes, int threads) {
  return threads * thread_scratch(bytes) + kCacheLine;
}

// Calls body(first, size, scratch) for the groups of [0, count).
template <class Body>
void run_groups(int64_t count, int64_t group, int64_t bytes, void* workspace, int threads,
                const Body& body) {
  const std::uintptr_t start = reinterpret_cast<std::uintptr_t>(workspace) + kCacheLine - 1;
  char* const base = reinterpret_cast<char*>(start & ~std::uintptr_t{kCacheLine - 1});
  const int64_t groups = blocks_of(count, group), own = thread_scratch(bytes);
  const int team = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, groups)));
#pragma omp parallel for schedule(dynamic) num_threads(team) if (team > 1)
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t first = g * group;
    body(first, std::min(group, count - first), base + omp_get_thread_num() * own);
  }
}

}  // namespace subkern
