// Which instruction-set variant serves this process.
#pragma once

namespace subkern {

enum Isa : int { kGeneric = 0, kAvx2 = 1, kAvx512 = 2, kIsaCount = 3 };

const char* isa_name(Isa isa);
bool isa_compiled(Isa isa);
// Compiled, offered by the processor, and its registers saved by the operating system.
bool isa_supported(Isa isa);
// The best supported variant, or the one SUBKERN_CPU_ISA names; read once, at the first call.
// Throws std::runtime_error, at every call, if that name is unknown or not supported here.
Isa active_isa();

}  // namespace subkern
