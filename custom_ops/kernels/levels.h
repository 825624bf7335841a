// What dispatch.cc knows of the levels: their tables and the CPU features that each needs.
#pragma once

#include <stdint.h>

#include "table.h"

namespace rrm {

extern const Kernels kPortable;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
#if !defined(RRM_NO_AMX)
extern const Kernels kAmx;
#endif
#elif defined(__aarch64__)
extern const Kernels kNeon;
#endif

// Bits of cpu_features(). A feature counts only where the operating system saves its registers, too.
enum CpuFeature : uint32_t {
  kCpuAvx2 = 1u << 0,
  kCpuFma = 1u << 1,
  kCpuAvx512F = 1u << 2,
  kCpuAvx512Bw = 1u << 3,
  kCpuAvx512Vl = 1u << 4,
  kCpuAvx512Dq = 1u << 5,
  kCpuNeon = 1u << 6,
  kCpuAvx512Bf16 = 1u << 7,
  kCpuAmxTile = 1u << 8,  // with the operating system's permission to use them
  kCpuAmxBf16 = 1u << 9,
};

uint32_t cpu_features();

#if defined(__x86_64__)
// What cpu_features() is made of: words of CPUID (leaf 1; leaf 7, subleaf 0 and 1) and XCR0.
struct CpuWords {
  uint32_t basic_c, extended_b, extended_d, more_a;
  uint64_t saved;
};
// allowed: asks for the permission to use tiles; called only where the processor has all that the level needs.
uint32_t features_of(const CpuWords& cpu, bool (*allowed)());
#endif

// Whether the level's gemm gives what its split products must give (amx_check.cc).
bool multiplies_right(const Kernels& kernels);

}  // namespace rrm
