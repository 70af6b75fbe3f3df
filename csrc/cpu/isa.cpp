#include "isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace subkern {
namespace {

struct CpuFeatures {
  bool avx2 = false;
  bool avx512 = false;
};

#if defined(__x86_64__)

bool all_bits(unsigned word, unsigned bits) { return (word & bits) == bits; }

// Which register states the operating system saves (XCR0); needs OSXSAVE.
unsigned saved_register_states() {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

CpuFeatures detect() {
  CpuFeatures found;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !all_bits(c, bit_OSXSAVE)) return found;
  const bool fma = all_bits(c, bit_AVX | bit_FMA | bit_F16C);
  const unsigned states = saved_register_states();
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
  constexpr unsigned kYmm = 0x06;  // xmm, ymm
  constexpr unsigned kZmm = 0xe6;  // and the masks, zmm0-15, zmm16-31
  found.avx2 = fma && all_bits(b, bit_AVX2) && all_bits(states, kYmm);
  found.avx512 = found.avx2 && all_bits(states, kZmm) &&
                 all_bits(b, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ);
  return found;
}

#else

CpuFeatures detect() { return {}; }

#endif

struct Selection {
  Isa isa = kGeneric;
  std::string error;
};

Selection select() {
  Selection chosen;
  std::string supported;
  for (int i = 0; i < kIsaCount; ++i) {
    if (!isa_supported(static_cast<Isa>(i))) continue;
    chosen.isa = static_cast<Isa>(i);
    supported += (supported.empty() ? "" : ", ") + std::string(isa_name(chosen.isa));
  }
  const char* wanted = std::getenv("SUBKERN_CPU_ISA");
  if (wanted == nullptr || *wanted == '\0') return chosen;
  for (int i = 0; i < kIsaCount; ++i) {
    const Isa isa = static_cast<Isa>(i);
    if (isa_supported(isa) && std::string(wanted) == isa_name(isa)) {
      chosen.isa = isa;
      return chosen;
    }
  }
  chosen.error = "subkern: SUBKERN_CPU_ISA must be one of the instruction sets supported here (" +
                 supported + "), got '" + wanted + "'";
  return chosen;
}

}  // namespace

const char* isa_name(Isa isa) {
  static const char* const kNames[kIsaCount] = {"generic", "avx2", "avx512"};
  return kNames[isa];
}

bool isa_compiled(Isa isa) {
  switch (isa) {
    case kGeneric:
      return true;
#if defined(SUBKERN_HAVE_AVX2)
    case kAvx2:
      return true;
#endif
#if defined(SUBKERN_HAVE_AVX512)
    case kAvx512:
      return true;
#endif
    default:
      return false;
  }
}

bool isa_supported(Isa isa) {
  static const CpuFeatures features = detect();
  if (!isa_compiled(isa)) return false;
  return isa == kGeneric || (isa == kAvx2 ? features.avx2 : features.avx512);
}

Isa active_isa() {
  static const Selection selection = select();
  if (!selection.error.empty()) throw std::runtime_error(selection.error);
  return selection.isa;
}

}  // namespace subkern
