// Switching between stacks: a few instructions on x86-64 and aarch64, ucontext elsewhere (ten times
// slower; SK_EMU_UCONTEXT asks for it anywhere). And what the address sanitizer must be told.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <stdexcept>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define __sanitizer_start_switch_fiber(keep, stack, bytes) ((void)(keep), (void)(stack))
#define __sanitizer_finish_switch_fiber(keep, left, bytes) ((void)(left), (void)(bytes))
#endif

#if defined(__x86_64__) && !defined(SK_EMU_UCONTEXT)
#define SK_EMU_FRAME 8, 6  // words: six registers, the return address, one to align the stack
asm(R"(.pushsection .text
sk_emu_switch:
  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
  ret
.popsection)");
#elif defined(__aarch64__) && !defined(SK_EMU_UCONTEXT)
#define SK_EMU_FRAME 20, 11  // words: x19 to x30 (to which ret returns), d8 to d15
asm(R"(.pushsection .text
sk_emu_switch:
  sub sp, sp, #160
  stp x19, x20, [sp]; stp x21, x22, [sp, #16]; stp x23, x24, [sp, #32]; stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]; stp x29, x30, [sp, #80]; stp d8, d9, [sp, #96]; stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]; stp d14, d15, [sp, #144]; mov x2, sp; str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp]; ldp x21, x22, [sp, #16]; ldp x23, x24, [sp, #32]; ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]; ldp x29, x30, [sp, #80]; ldp d8, d9, [sp, #96]; ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]; ldp d14, d15, [sp, #144]; add sp, sp, #160
  ret
.popsection)");
#else
#include <ucontext.h>
#endif

namespace emu {

#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStack = 256 << 10;  // red zones make frames larger
#else
constexpr size_t kStack = 64 << 10;
#endif

inline char* map(size_t bytes) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("cuda_emu: no memory for stacks");
  return static_cast<char*>(memory);
}

#ifdef SK_EMU_FRAME
using Context = void**;  // the stack pointer; what a call must preserve lies on the stack
extern "C" void sk_emu_switch(Context* from, Context to);
inline void switch_context(Context& from, Context& to) { sk_emu_switch(&from, to); }
inline void make_context(Context& context, char* stack, size_t bytes, void (*entry)()) {
  constexpr int kFrame[] = {SK_EMU_FRAME};
  context = reinterpret_cast<void**>(stack + bytes) - kFrame[0];
  std::fill_n(context, kFrame[0], nullptr);
  context[kFrame[1]] = reinterpret_cast<void*>(entry);
}
#else
using Context = ucontext_t;
inline void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }
inline void make_context(Context& context, char* stack, size_t bytes, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = bytes;
  makecontext(&context, entry, 0);
}
#endif

}  // namespace emu
