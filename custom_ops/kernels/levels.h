// What dispatch.cc knows of the levels: their tables and the CPU features that each needs.
#pragma once

#include <stdint.h>

#include "table.h"

namespace rrm {

extern const Kernels kPortable;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
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
};

uint32_t cpu_features();

}  // namespace rrm
