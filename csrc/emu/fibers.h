// The threads of a CUDA block as fibers: scheduling, barriers, warp operations, shared memory, and
// the checks on them. cuda_emu.h gives them the names of CUDA.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "context.h"

#pragma GCC visibility push(hidden)  // two emulated modules of a process share nothing

struct uint3 {
  unsigned x, y, z;
};
struct dim3 : uint3 {
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : uint3{x, y, z} {}
};
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace emu {

constexpr unsigned kMaxThreads = 1024, kWarp = 32, kNoLane = kWarp;
constexpr size_t kGuard = 64 << 10;  // a multiple of every page size
constexpr size_t kArena = 512 << 10, kGap = 1 << 10;
constexpr size_t kMaxStatic = 48 << 10, kMaxDynamic = 227 << 10;
constexpr char kCanary = char(0xFE);

struct Where {  // a line of the kernel
  const char* file;
  int line;
  static constexpr Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

struct Wait {
  std::string_view name;  // the barrier or warp operation; empty for a thread that can run
  Where where;
  uint64_t value;         // what the thread brings
  unsigned mask, source;  // of a warp operation: lanes that take part; the lane to read, if one
};

struct Fiber {
  Context context;
  const void* stack;
  size_t stack_bytes;
  void* fake_stack;  // the address sanitizer's
  uint3 thread;
  unsigned index;
  bool exited;
  Wait wait;
  uint64_t result;  // of the last barrier or warp operation
};

struct Array {  // in shared memory
  const void* key;
  const char* name;
  char* begin;
  size_t bytes;
};

struct Machine {
  std::mutex busy;
  Fiber fibers[kMaxThreads] = {}, host = {}, *self = &host;
  unsigned threads = 0, exited = 0, at_barrier = 0;
  std::vector<Fiber*> ready, next;  // this phase's threads, from `position` on; the next phase's
  size_t position = 0;
  std::vector<Array> arrays;  // of the block, by address
  char *stacks = nullptr, *arena = nullptr;
  void* dynamic = nullptr;
  const std::function<void()>* body = nullptr;
  std::exception_ptr thrown;
  std::mt19937_64 random;
  uint64_t seed = 0, switches = 0;
};
inline Machine machine;

inline std::string text(uint3 at) {
  return std::to_string(at.x) + "," + std::to_string(at.y) + "," + std::to_string(at.z);
}

// What the thread waits for, in words.
inline std::string describe(const Fiber& fiber) {
  if (fiber.exited) return "exited";
  if (fiber.wait.name.empty()) return "can run";
  char mask[24] = "";
  if (fiber.wait.mask != 0) std::snprintf(mask, sizeof mask, " with mask 0x%08x", fiber.wait.mask);
  return "waits at " + std::string(fiber.wait.name) + mask + " (" + fiber.wait.where.file + ":" +
         std::to_string(fiber.wait.where.line) + ")";
}

// Ends the launch with the reason and, for each thing that threads wait for, the threads.
[[noreturn]] inline void fail(const std::string& reason) {
  std::map<std::string, std::string> groups;
  for (unsigned first = 0, last; first < machine.threads; first = last) {
    const std::string state = describe(machine.fibers[first]);
    for (last = first; last < machine.threads; ++last) {
      if (describe(machine.fibers[last]) != state) break;
    }
    groups[state] += " " + std::to_string(first);
    if (last - first > 1) groups[state] += "-" + std::to_string(last - 1);
  }
  std::string list =
      "cuda_emu: " + reason + "\nblock " + text(blockIdx) + " of " + text(blockDim) + " threads:";
  for (const auto& [state, threads] : groups) list += "\n " + threads + ": " + state;
  throw std::runtime_error(list);
}

template <class T>
void shuffle(std::vector<T>& order) {
  if (machine.seed != 0) std::shuffle(order.begin(), order.end(), machine.random);
}

inline void switch_to(Fiber& to) {
  Fiber& from = *machine.self;
  if (&to == &from) return;
  machine.self = &to;
  threadIdx = to.thread;
  ++machine.switches;
  void** const keep = from.exited ? nullptr : &from.fake_stack;
  __sanitizer_start_switch_fiber(keep, to.stack, to.stack_bytes);
  switch_context(from.context, to.context);
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
}

// No thread can run and not all have exited.
[[noreturn]] inline void stuck() {
  bool all_at_barriers = true;
  for (unsigned i = 0; i < machine.threads; ++i) {
    const Wait& wait = machine.fibers[i].wait;
    all_at_barriers &= wait.mask == 0;
    for (unsigned lane = 0; lane < kWarp; ++lane) {
      if ((wait.mask >> lane & 1) && machine.fibers[i / kWarp * kWarp + lane].exited) {
        fail(std::string(wait.name) + " names lane " + std::to_string(lane) + ", which has exited");
      }
    }
  }
  fail(all_at_barriers ? "barrier divergence: some threads have exited" : "deadlock");
}

// Runs the next thread that can run. Called by one that waits or has exited.
inline void run_next() {
  if (machine.position == machine.ready.size()) {
    machine.position = 0;
    machine.ready.swap(machine.next);
    machine.next.clear();
    if (machine.ready.empty()) stuck();
    shuffle(machine.ready);
  }
  switch_to(*machine.ready[machine.position++]);
}

inline void release(Fiber& fiber) {
  fiber.wait = {};
  machine.next.push_back(&fiber);
}

// A barrier of the block. Returns how many threads brought true.
inline unsigned barrier(const char* name, bool value, Where where) {
  Fiber *const self = machine.self, *const fibers = machine.fibers;
  self->wait = {name, where, value, 0, 0};
  if (++machine.at_barrier == machine.threads) {
    machine.at_barrier = 0;
    uint64_t count = 0;
    for (unsigned i = 0; i < machine.threads; ++i) {
      const Wait& wait = fibers[i].wait;
      if (wait.name != name || wait.where.line != where.line) {
        fail("barrier divergence: threads wait at different barriers");
      }
      count += wait.value;
    }
    for (unsigned i = 0; i < machine.threads; ++i) {
      fibers[i].result = count;
      release(fibers[i]);
    }
  }
  run_next();
  return unsigned(self->result);
}

using Fold = uint64_t (*)(uint64_t, uint64_t);

// Waits for the lanes of the mask, and for nothing else. Returns the value of the lane `source` or,
// where that is kNoLane, all values folded.
inline uint64_t warp_operation(const char* name, unsigned mask, uint64_t value, unsigned source,
                               Fold fold, Where where) {
  Fiber* const self = machine.self;
  const unsigned lane = self->index % kWarp, first = self->index - lane;
  Fiber* const warp = machine.fibers + first;
  mask &= ~0u >> (kWarp - std::min(kWarp, machine.threads - first));
  self->wait = {name, where, value, mask, source};
  if ((mask >> lane & 1) == 0) fail(std::string(name) + ": the mask omits the calling lane");

  Fiber* lanes[kWarp];
  unsigned count = 0;
  bool complete = true;                             // every lane of the mask is here
  for (unsigned i = kWarp; complete && i-- > 0;) {  // downwards: in natural order the last is late
    if ((mask >> i & 1) == 0) continue;
    lanes[count++] = &warp[i];
    complete = warp[i].wait.mask == mask && warp[i].wait.name == name;
  }
  if (complete) {
    uint64_t folded = lanes[0]->wait.value;
    for (unsigned i = 1; i < count; ++i) folded = fold(folded, lanes[i]->wait.value);
    for (unsigned i = 0; i < count; ++i) {
      const unsigned from = lanes[i]->wait.source;
      if (from != kNoLane && (mask >> from & 1) == 0) {
        fail(std::string(name) + ": lane " + std::to_string(lanes[i]->index % kWarp) +
             " reads lane " + std::to_string(from) + ", which is not in the mask");
      }
      lanes[i]->result = from == kNoLane ? folded : warp[from].wait.value;
    }
    for (unsigned i = count; i-- > 0;) release(*lanes[i]);
  }
  run_next();
  return self->result;
}

// A shared array of the block: found by its key, else placed and filled.
inline void* shared(const void* key, const char* name, size_t bytes) {
  char* free = machine.arena;
  size_t used = bytes;
  for (const Array& array : machine.arrays) {
    if (array.key == key) return array.begin;
    if (array.key != nullptr) used += array.bytes;
    free = array.begin + array.bytes;
  }
  if (key != nullptr && used > kMaxStatic) fail("more than 48 KB of static shared memory");
  char* begin = machine.arena + ((free - machine.arena + kGap + 127) & ~size_t(127));
  ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
  std::memset(begin, 0xFF, bytes);
  machine.arrays.push_back({key, name, begin, bytes});
  return begin;
}

// Fills the arena with canaries again. Returns what was written outside of the arrays, if any.
inline std::string reset_arena() {
  ASAN_UNPOISON_MEMORY_REGION(machine.arena, kArena);
  for (const Array& array : machine.arrays) std::memset(array.begin, kCanary, array.bytes);
  Array owner = machine.arrays.back();
  char* const end = std::min(owner.begin + owner.bytes + 4 * kGap, machine.arena + kArena);
  char* const bad = std::find_if(machine.arena, end, [](char byte) { return byte != kCanary; });
  if (bad == end) return "";
  std::memset(machine.arena, kCanary, kArena);
  for (const Array& array : machine.arrays) {
    if (array.begin <= bad || array.key == nullptr) owner = array;
  }
  return "write outside of shared memory, to byte " + std::to_string(bad - owner.begin) + " of " +
         owner.name + " (" + std::to_string(owner.bytes) + " bytes)";
}

inline void fiber_main() {
  const void* left = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &left, &bytes);
  if (machine.host.stack == nullptr) {  // the first thread of a block comes from the host
    machine.host.stack = left;
    machine.host.stack_bytes = bytes;
  }
  try {
    (*machine.body)();
    machine.self->exited = true;
    if (++machine.exited < machine.threads) run_next();
  } catch (...) {
    machine.thrown = std::current_exception();
  }
  machine.self->exited = true;
  switch_to(machine.host);
}

inline void make_fibers() {
  machine.ready.clear();
  machine.next.clear();
  machine.position = machine.exited = machine.at_barrier = 0;
  for (unsigned i = 0; i < machine.threads; ++i) {
    Fiber& fiber = machine.fibers[i];
    char* const guard = machine.stacks + i * (kGuard + kStack);
    if (fiber.stack == nullptr) mprotect(guard, kGuard, PROT_NONE);
    fiber = {};
    fiber.index = i;
    fiber.thread = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    // Tops at different offsets in their pages, or all would share one set of the cache.
    fiber.stack_bytes = kStack - i % 32 * 128;
    fiber.stack = guard + kGuard;
    ASAN_UNPOISON_MEMORY_REGION(guard + kGuard, kStack);
    make_context(fiber.context, guard + kGuard, fiber.stack_bytes, fiber_main);
    machine.ready.push_back(&fiber);
  }
  shuffle(machine.ready);
}

inline void run_block(size_t dynamic_bytes) {
  ASAN_POISON_MEMORY_REGION(machine.arena, kArena);
  machine.arrays.clear();
  machine.dynamic = shared(nullptr, "dynamic shared memory", dynamic_bytes);
  make_fibers();
  machine.thrown = nullptr;
  machine.host.stack = nullptr;
  run_next();
  const std::string overrun = reset_arena();
  if (machine.thrown != nullptr) std::rethrow_exception(machine.thrown);
  if (!overrun.empty()) fail(overrun);
}

inline void run_grid(dim3 grid, dim3 block, size_t dynamic_bytes, std::function<void()> body) {
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  if (threads == 0 || threads > kMaxThreads || block.z > 64 || dynamic_bytes > kMaxDynamic ||
      blocks == 0 || grid.x > 0x7FFFFFFF || grid.y > 0xFFFF || grid.z > 0xFFFF) {
    throw std::runtime_error("cuda_emu: launch configuration out of range");
  }
  const std::lock_guard<std::mutex> lock(machine.busy);
  if (machine.arena == nullptr) {
    machine.stacks = map(kMaxThreads * (kGuard + kStack));
    machine.arena = map(kArena);
    std::memset(machine.arena, kCanary, kArena);
  }
  gridDim = grid;
  blockDim = block;
  machine.threads = unsigned(threads);
  machine.body = &body;
  machine.random.seed(machine.seed);
  std::vector<uint64_t> order(blocks);
  std::iota(order.begin(), order.end(), 0);
  shuffle(order);
  for (const uint64_t i : order) {
    blockIdx = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)};
    run_block(dynamic_bytes);
  }
}

}  // namespace emu

#pragma GCC visibility pop
