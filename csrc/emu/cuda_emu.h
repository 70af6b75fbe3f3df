// Runs CUDA C++ kernels on the CPU, for tests: one fiber per CUDA thread, one block at a time.
//
// Kernels compile unchanged with nvcc and g++ as long as they
// - declare shared memory by SK_SHARED(T, name, count) and SK_DYNAMIC_SHARED(T, name). A prefix
// such
//   as __shared__ cannot give g++ the array's address (and g++ ignores a section attribute in
//   templates), so only macros can fill arrays before each block and guard what lies between them;
// - launch by SK_LAUNCH(kernel, grid, block, shared_bytes, stream, arguments...);
// - never spin on memory: a fiber gives way only at barriers and warp operations.
//
// What it finds, as std::runtime_error out of the launch, with the list of threads and what each
// waits for: barriers not reached by all threads of the block, or reached at different places;
// deadlock; lanes that exited or lie outside the mask of a warp operation; writes past shared
// arrays. Lanes that a block of odd size never had drop out of masks; reading one is an error.
// Shared memory starts each block as 0xFF bytes (NaN). sk_emu_set_seed shuffles the order of
// blocks, and of ready threads at every phase; seed 0 is the natural order. Sanitizers find the
// rest. Blocks run in turn on the calling OS thread; launches of several OS threads wait for each
// other.
#pragma once

#include <math.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

#pragma GCC visibility push(hidden)  // two emulated modules in one process share nothing

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static_assert(false, "declare by SK_SHARED or SK_DYNAMIC_SHARED");
#define SK_SHARED(T, name, count) \
  static char name##_key;         \
  T(&name)[count] = *static_cast<T(*)[count]>(emu::shared(&name##_key, #name, sizeof(T[count])))
#define SK_DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(emu::machine.dynamic)
#define SK_LAUNCH(kernel, ...) emu::launch(kernel, __VA_ARGS__)

#define SK_EMU_VECTORS(T, name)                                      \
  struct alignas(2 * sizeof(T)) name##2 { T x, y; };                 \
  struct name##3 { T x, y, z; };                                     \
  struct alignas(4 * sizeof(T)) name##4 { T x, y, z, w; };           \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
SK_EMU_VECTORS(int, int)
SK_EMU_VECTORS(unsigned, uint)
SK_EMU_VECTORS(float, float)
SK_EMU_VECTORS(unsigned short, ushort)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;

#if defined(SK_EMU_UCONTEXT) || !(defined(__x86_64__) || defined(__aarch64__))
namespace emu {
using Context = ucontext_t;
inline void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }
inline void make_context(Context& context, char* stack, size_t bytes, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = bytes;
  makecontext(&context, entry, 0);
}
}  // namespace emu
#else
// Saves the registers that a call must keep on the stack, stores the stack pointer, takes the
// other.
extern "C" void sk_emu_switch(void** from, void* to);
#ifdef __x86_64__
asm(R"(.pushsection .text
sk_emu_switch:
  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
  ret
.popsection)");
#else
asm(R"(.pushsection .text
sk_emu_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]; stp x21, x22, [sp, #16]; stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]; stp x27, x28, [sp, #64]; stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]; stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]; stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]; ldp x21, x22, [sp, #16]; ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]; ldp x27, x28, [sp, #64]; ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]; ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]; ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.popsection)");
#endif
namespace emu {
using Context = void*;
inline void switch_context(Context& from, Context& to) { sk_emu_switch(&from, to); }
inline void make_context(Context& context, char* stack, size_t bytes, void (*entry)()) {
#ifdef __x86_64__
  constexpr int kWords = 8, kEntry = 6;  // six registers, the return address, one word to align
#else
  constexpr int kWords = 20, kEntry = 11;  // x30 is the twelfth word of the frame
#endif
  void** frame = reinterpret_cast<void**>(stack + bytes) - kWords;
  std::fill(frame, frame + kWords, nullptr);
  frame[kEntry] = reinterpret_cast<void*>(entry);
  context = frame;
}
}  // namespace emu
#endif

namespace emu {

constexpr unsigned kMaxThreads = 1024, kWarp = 32;
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStack = 256 << 10;  // red zones make frames larger
#else
constexpr size_t kStack = 64 << 10;
#endif
constexpr size_t kPage = 64 << 10;  // guards: a multiple of every page size in use
constexpr size_t kArena = 512 << 10, kGap = 1 << 10;
constexpr size_t kMaxStatic = 48 << 10, kMaxShared = 227 << 10;
constexpr char kCanary = char(0xFE);

// Where in the kernel a thread waits.
struct Where {
  const char* file;
  int line;
  static constexpr Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
  bool operator==(const Where& other) const {
    return line == other.line && std::strcmp(file, other.file) == 0;
  }
};

struct Fiber {
  Context context;
  char* stack;
  size_t stack_bytes;
  void* fake_stack;  // of the address sanitizer
  uint3 thread;
  unsigned index;
  bool exited;
  const char* waits_at;  // name of a barrier or warp operation; null where it can run
  Where where;
  unsigned mask, source;  // of a warp operation: lanes that take part, lane to read
  uint64_t value, result;
};

struct Region {
  const void* key;
  const char* name;
  char* begin;
  size_t bytes;
};

struct Machine {
  std::mutex busy;
  Fiber fibers[kMaxThreads] = {}, host = {};
  Fiber* self = &host;
  unsigned threads = 0, exited = 0, at_barrier = 0;
  std::vector<Fiber*> ready, next;  // this phase's threads from `position` on; the next phase's
  size_t position = 0;
  std::vector<Region> regions;  // shared arrays of the block, by address
  char *stacks = nullptr, *arena = nullptr;
  void* dynamic = nullptr;
  unsigned guarded = 0;
  const std::function<void()>* body = nullptr;
  std::exception_ptr thrown;
  uint64_t seed = 0, random = 0, switches = 0;
};
inline Machine machine;

inline std::string text(uint3 at) {
  return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) +
         ")";
}

// What each thread of the block waits for, equal neighbours in one line.
inline std::string thread_list() {
  std::string list;
  for (unsigned first = 0, last; first < machine.threads; first = last) {
    const auto describe = [](const Fiber& fiber) -> std::string {
      if (fiber.exited) return "exited";
      if (fiber.waits_at == nullptr) return "can run";
      char mask[24] = "";
      if (fiber.mask != 0) std::snprintf(mask, sizeof mask, ", mask 0x%08x", fiber.mask);
      return std::string("waits at ") + fiber.waits_at + mask + " (" + fiber.where.file + ":" +
             std::to_string(fiber.where.line) + ")";
    };
    const std::string state = describe(machine.fibers[first]);
    for (last = first; last < machine.threads; ++last) {
      if (describe(machine.fibers[last]) != state) break;
    }
    list += "\n  " + std::to_string(first) + " " + text(machine.fibers[first].thread);
    if (last - first > 1) {
      list += " to " + std::to_string(last - 1) + " " + text(machine.fibers[last - 1].thread);
    }
    list += ": " + state;
  }
  return list;
}

[[noreturn]] inline void fail(const std::string& reason) {
  throw std::runtime_error("cuda_emu: " + reason + "\nblock " + text(blockIdx) + ", " +
                           std::to_string(machine.threads) + " threads:" + thread_list());
}

inline uint64_t random_below(uint64_t limit) {  // xorshift64*; the seed is not zero here
  uint64_t& state = machine.random;
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return ((state * 0x2545F4914F6CDD1Dull >> 32) * limit) >> 32;
}

template <class T>
void shuffle(std::vector<T>& order) {
  if (machine.seed == 0) return;
  for (size_t left = order.size(); left > 1; --left) {
    std::swap(order[left - 1], order[random_below(left)]);
  }
}

inline void switch_to(Fiber& to) {
  Fiber& from = *machine.self;
  if (&to == &from) return;
  machine.self = &to;
  threadIdx = to.thread;
  ++machine.switches;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(from.exited ? nullptr : &from.fake_stack, to.stack,
                                 to.stack_bytes);
#endif
  switch_context(from.context, to.context);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

[[noreturn]] inline void stuck() {
  bool barrier = false, warp = false;
  for (unsigned i = 0; i < machine.threads; ++i) {
    const Fiber& fiber = machine.fibers[i];
    if (fiber.exited) continue;
    (fiber.mask != 0 ? warp : barrier) = true;
  }
  fail(barrier && !warp ? "barrier divergence" : "deadlock");
}

// Runs the next thread that can run. Called by a thread that waits or has exited.
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
  fiber.waits_at = nullptr;
  fiber.mask = 0;
  machine.next.push_back(&fiber);
}

// A barrier of the block; the result is the number of threads with a nonzero value.
inline unsigned barrier(const char* name, bool value, Where where) {
  Fiber& self = *machine.self;
  self.waits_at = name;
  self.where = where;
  self.value = value;
  if (++machine.at_barrier == machine.threads) {
    uint64_t count = 0;
    for (unsigned i = 0; i < machine.threads; ++i) {
      const Fiber& fiber = machine.fibers[i];
      if (std::strcmp(fiber.waits_at, name) != 0 || !(fiber.where == where)) {
        fail("barrier divergence: threads of one block wait at different barriers");
      }
      count += fiber.value;
    }
    machine.at_barrier = 0;
    for (unsigned i = 0; i < machine.threads; ++i) {
      machine.fibers[i].result = count;
      release(machine.fibers[i]);
    }
  }
  run_next();
  return unsigned(self.result);
}

// What a lane gets from a warp operation, given the values of all lanes in the mask.
using Combine = uint64_t (*)(const Fiber* warp, unsigned mask, const Fiber& lane);

inline uint64_t warp_operation(const char* name, unsigned mask, uint64_t value, unsigned source,
                               Combine combine, Where where) {
  Fiber& self = *machine.self;
  const unsigned lane = self.index % kWarp, first = self.index - lane;
  const unsigned lanes = std::min(kWarp, machine.threads - first);
  Fiber* warp = machine.fibers + first;
  self.waits_at = name;
  self.where = where;
  self.mask = mask;
  self.value = value;
  self.source = source;
  if ((mask >> lane & 1) == 0) {
    fail(std::string(name) + ": lane " + std::to_string(lane) + " is not in its own mask");
  }
  mask &= ~0u >> (kWarp - lanes);
  bool complete = true;
  for (unsigned other = lanes; complete && other-- > 0;) {  // in natural order the last comes last
    if ((mask >> other & 1) == 0) continue;
    const Fiber& fiber = warp[other];
    if (fiber.exited) {
      fail(std::string(name) + ": lane " + std::to_string(other) + " of the mask has exited");
    }
    complete = fiber.waits_at != nullptr && fiber.mask == self.mask &&
               std::strcmp(fiber.waits_at, name) == 0;
  }
  if (complete) {
    for (unsigned i = 0; i < lanes; ++i) {
      if (mask >> i & 1) warp[i].result = combine(warp, mask, warp[i]);
    }
    for (unsigned i = 0; i < lanes; ++i) {
      if (mask >> i & 1) release(warp[i]);
    }
  }
  run_next();
  return self.result;
}

// A shared array of the block: found by its key, else placed and filled with NaN bytes.
inline void* shared(const void* key, const char* name, size_t bytes) {
  size_t used = 0;
  for (const Region& region : machine.regions) {
    if (region.key == key) return region.begin;
    if (region.key != nullptr) used += region.bytes;
  }
  if (key != nullptr && used + bytes > kMaxStatic) fail("more than 48 KB of static shared memory");
  char* free = machine.arena;
  if (!machine.regions.empty()) free = machine.regions.back().begin + machine.regions.back().bytes;
  char* begin = machine.arena + ((free - machine.arena + kGap + 127) & ~size_t(127));
  ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
  std::memset(begin, 0xFF, bytes);
  machine.regions.push_back({key, name, begin, bytes});
  return begin;
}

inline char* map(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("cuda_emu: no memory for stacks");
  return static_cast<char*>(memory);
}

inline void fiber_main() {
#ifdef __SANITIZE_ADDRESS__
  const void* old_stack;
  size_t old_bytes;
  __sanitizer_finish_switch_fiber(nullptr, &old_stack, &old_bytes);
  if (machine.host.stack == nullptr) {  // the block's first thread comes from the host
    machine.host.stack = static_cast<char*>(const_cast<void*>(old_stack));
    machine.host.stack_bytes = old_bytes;
  }
#endif
  try {
    (*machine.body)();
    machine.self->exited = true;
    if (++machine.exited < machine.threads) run_next();
  } catch (...) {
    machine.thrown = std::current_exception();
  }
  machine.self->exited = true;
  switch_to(machine.host);
  __builtin_unreachable();
}

inline void make_fibers() {
  constexpr size_t kSlot = kPage + kStack;
  if (machine.stacks == nullptr) machine.stacks = map(kMaxThreads * kSlot);
  for (; machine.guarded < machine.threads; ++machine.guarded) {
    mprotect(machine.stacks + machine.guarded * kSlot, kPage, PROT_NONE);
  }
  machine.ready.clear();
  machine.next.clear();
  machine.position = machine.exited = machine.at_barrier = 0;
  for (unsigned i = 0; i < machine.threads; ++i) {
    Fiber& fiber = machine.fibers[i];
    fiber = {};
    fiber.index = i;
    fiber.thread = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    fiber.stack = machine.stacks + i * kSlot + kPage;
    // Tops at different offsets in their pages, or all of them would share one set of the cache.
    fiber.stack_bytes = kStack - i % 32 * 128;
    ASAN_UNPOISON_MEMORY_REGION(fiber.stack, kStack);
    make_context(fiber.context, fiber.stack, fiber.stack_bytes, fiber_main);
    machine.ready.push_back(&fiber);
  }
  shuffle(machine.ready);
}

// Fills the arena with canaries again. Returns what was written outside the shared arrays, if any.
inline std::string reset_arena() {
  ASAN_UNPOISON_MEMORY_REGION(machine.arena, kArena);
  for (const Region& region : machine.regions) std::memset(region.begin, kCanary, region.bytes);
  const Region last = machine.regions.back();
  char* const end = std::min(last.begin + last.bytes + 4 * kGap, machine.arena + kArena);
  char* const bad = std::find_if(machine.arena, end, [](char byte) { return byte != kCanary; });
  if (bad == end) return "";
  std::memset(machine.arena, kCanary, kArena);
  const Region* owner = &machine.regions.front();
  for (const Region& region : machine.regions) {
    if (region.begin <= bad) owner = &region;
  }
  return "write outside of shared memory, at byte " + std::to_string(bad - owner->begin) + " of " +
         owner->name + " (" + std::to_string(owner->bytes) + " bytes)";
}

inline void run_block(size_t shared_bytes) {
  if (machine.arena == nullptr) {
    machine.arena = map(kArena);
    std::memset(machine.arena, kCanary, kArena);
  }
  ASAN_POISON_MEMORY_REGION(machine.arena, kArena);
  machine.regions.clear();
  machine.dynamic = shared(nullptr, "dynamic shared memory", shared_bytes);
  make_fibers();
  machine.thrown = nullptr;
  machine.host.stack = nullptr;
  run_next();
  const std::string overrun = reset_arena();
  if (machine.thrown != nullptr) std::rethrow_exception(machine.thrown);
  if (!overrun.empty()) fail(overrun);
}

inline void run_grid(dim3 grid, dim3 block, size_t shared_bytes,
                     const std::function<void()>& body) {
  const auto product = [](dim3 size) { return uint64_t(size.x) * size.y * size.z; };
  if (product(block) == 0 || product(block) > kMaxThreads || block.z > 64 || product(grid) == 0 ||
      grid.x > 0x7FFFFFFF || grid.y > 65535 || grid.z > 65535 || shared_bytes > kMaxShared) {
    throw std::runtime_error("cuda_emu: invalid launch configuration");
  }
  const std::lock_guard<std::mutex> lock(machine.busy);
  gridDim = grid;
  blockDim = block;
  machine.threads = unsigned(product(block));
  machine.body = &body;
  machine.random = machine.seed * 0x9E3779B97F4A7C15ull;
  std::vector<uint64_t> order(product(grid));
  std::iota(order.begin(), order.end(), 0);
  shuffle(order);
  for (const uint64_t i : order) {
    blockIdx = {unsigned(i % grid.x), unsigned(i / grid.x % grid.y),
                unsigned(i / (uint64_t(grid.x) * grid.y))};
    run_block(shared_bytes);
  }
}

template <class T>
struct Identity {
  using type = T;
};

// Runs the kernel; the arguments convert to its parameters as in a call. The stream is ignored.
template <class... P>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, const void*,
            typename Identity<P>::type... arguments) {
  run_grid(grid, block, shared_bytes, [&] { kernel(arguments...); });
}

template <class T>
uint64_t to_bits(T value) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4, "int, unsigned, float, double, 64 bit");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

template <class T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <class T>
T shuffle_operation(const char* name, unsigned mask, T value, int source, int width, Where where) {
  if (width < 1 || width > warpSize || (width & (width - 1)) != 0) fail("width of a shuffle");
  const auto read = [](const Fiber* warp, unsigned lanes, const Fiber& lane) {
    if ((lanes >> lane.source & 1) == 0) {
      fail(std::string(lane.waits_at) + ": lane " + std::to_string(lane.index % kWarp) +
           " reads lane " + std::to_string(lane.source) + ", which is not in the mask");
    }
    return warp[lane.source].value;
  };
  return from_bits<T>(warp_operation(name, mask, to_bits(value), unsigned(source), read, where));
}

inline int lane() { return int(machine.self->index % kWarp); }

inline unsigned ballot(const char* name, unsigned mask, bool value, Where where) {
  const auto collect = [](const Fiber* warp, unsigned lanes, const Fiber&) {
    uint64_t bits = 0;
    for (unsigned i = 0; i < kWarp; ++i) {
      if (lanes >> i & 1) bits |= warp[i].value << i;
    }
    return bits;
  };
  return unsigned(warp_operation(name, mask, value, 0, collect, where));
}

template <class T, class F>
T change(T* at, F&& next) {
  const T old = *at;
  *at = next(old);
  return old;
}

}  // namespace emu

#define SK_EMU_HERE emu::Where where = emu::Where::here()

inline void __syncthreads(SK_EMU_HERE) { emu::barrier("__syncthreads", false, where); }
inline int __syncthreads_or(int value, SK_EMU_HERE) {
  return emu::barrier("__syncthreads_or", value != 0, where) != 0;
}
inline int __syncthreads_and(int value, SK_EMU_HERE) {
  return emu::barrier("__syncthreads_and", value != 0, where) == emu::machine.threads;
}
inline int __syncthreads_count(int value, SK_EMU_HERE) {
  return int(emu::barrier("__syncthreads_count", value != 0, where));
}
inline void __syncwarp(unsigned mask = ~0u, SK_EMU_HERE) {
  emu::ballot("__syncwarp", mask, false, where);
}
inline unsigned __ballot_sync(unsigned mask, int value, SK_EMU_HERE) {
  return emu::ballot("__ballot_sync", mask, value != 0, where);
}
inline int __any_sync(unsigned mask, int value, SK_EMU_HERE) {
  return emu::ballot("__any_sync", mask, value != 0, where) != 0;
}
inline int __all_sync(unsigned mask, int value, SK_EMU_HERE) {
  return emu::ballot("__all_sync", mask, value == 0, where) == 0;
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, SK_EMU_HERE) {
  source = (emu::lane() & -width) | (source & (width - 1));
  return emu::shuffle_operation("__shfl_sync", mask, value, source, width, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, SK_EMU_HERE) {
  const int source = emu::lane() - int(delta), first = emu::lane() & -width;
  return emu::shuffle_operation("__shfl_up_sync", mask, value,
                                source < first ? emu::lane() : source, width, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, SK_EMU_HERE) {
  const int source = emu::lane() + int(delta), last = emu::lane() | (width - 1);
  return emu::shuffle_operation("__shfl_down_sync", mask, value,
                                source > last ? emu::lane() : source, width, where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize, SK_EMU_HERE) {
  const int source = emu::lane() ^ bits, last = emu::lane() | (width - 1);
  return emu::shuffle_operation("__shfl_xor_sync", mask, value,
                                source > last ? emu::lane() : source, width, where);
}

#define SK_EMU_ATOMIC(name, expression)                               \
  template <class T>                                                  \
  T name(T* at, typename emu::Identity<T>::type value) {              \
    return emu::change(at, [&](T old) -> T { return (expression); }); \
  }
SK_EMU_ATOMIC(atomicAdd, old + value)
SK_EMU_ATOMIC(atomicMax, old > value ? old : value)
SK_EMU_ATOMIC(atomicMin, old < value ? old : value)
SK_EMU_ATOMIC(atomicAnd, old& value)
SK_EMU_ATOMIC(atomicOr, old | value)
SK_EMU_ATOMIC(atomicExch, ((void)old, value))
SK_EMU_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
template <class T>
T atomicCAS(T* at, typename emu::Identity<T>::type expected,
            typename emu::Identity<T>::type value) {
  return emu::change(at, [&](T old) { return old == expected ? value : old; });
}
inline void __threadfence() {}
inline void __threadfence_block() {}
template <class T>
T __ldg(const T* at) {
  return *at;
}

using std::max;
using std::min;
inline unsigned __float_as_uint(float value) { return unsigned(emu::to_bits(value)); }
inline float __uint_as_float(unsigned bits) { return emu::from_bits<float>(bits); }
inline int __float_as_int(float value) { return int(emu::to_bits(value)); }
inline float __int_as_float(int bits) { return __uint_as_float(unsigned(bits)); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(unsigned(bits)); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }

struct alignas(2) __nv_bfloat16 {
  unsigned short bits;
};
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return {bits}; }
inline float __bfloat162float(__nv_bfloat16 value) {
  return __uint_as_float(unsigned(value.bits) << 16);
}
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  const unsigned bits = __float_as_uint(value);
  if (value != value) return {0x7FFF};  // as the hardware
  return {static_cast<unsigned short>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}
inline __nv_bfloat16 __float2bfloat16(float value) { return __float2bfloat16_rn(value); }

extern "C" {
// Exported, so that tests call them on a loaded module.
__attribute__((visibility("default"), used)) inline void sk_emu_set_seed(uint64_t seed) {
  emu::machine.seed = seed;
}
__attribute__((visibility("default"), used)) inline uint64_t sk_emu_switches() {
  return emu::machine.switches;
}
}

#pragma GCC visibility pop
