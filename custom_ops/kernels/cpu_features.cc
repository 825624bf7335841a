// CPU features and the denormal mode. A feature is reported when CPUID shows it and XCR0 says that the operating system
// saves the registers it needs: CPUID alone is not enough (virtual machines, old kernels).
#include <stdint.h>
#include <string.h>

#include "levels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <xmmintrin.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace rrm {
namespace {

#if defined(__x86_64__)

struct CpuId {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  CpuId(uint32_t leaf, uint32_t subleaf) {
    if (__get_cpuid_count(leaf, subleaf, &a, &b, &c, &d) == 0) a = b = c = d = 0;
  }
};

uint64_t SavedRegisters() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Tiles are 8 kB of state a thread: Linux lets a process use them only after it asked. The answer is for all threads.
bool AllowTiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

uint32_t Detect() {
  constexpr uint32_t kOsXsave = 1u << 27;
  const CpuId basic(1, 0);
  if ((basic.c & kOsXsave) == 0) return 0;
  const CpuId extended(7, 0), more(7, 1);
  return features_of({basic.c, extended.b, extended.d, more.a, SavedRegisters()}, AllowTiles);
}

#elif defined(__aarch64__)

uint32_t Detect() { return kCpuNeon; }  // part of the base architecture

#else

uint32_t Detect() { return 0; }

#endif

struct FeatureName {
  uint32_t bit;
  const char* name;
};
constexpr FeatureName kNames[] = {
    {kCpuAvx2, "avx2"},         {kCpuFma, "fma"},           {kCpuAvx512F, "avx512f"}, {kCpuAvx512Bw, "avx512bw"},
    {kCpuAvx512Vl, "avx512vl"}, {kCpuAvx512Dq, "avx512dq"}, {kCpuNeon, "neon"},       {kCpuAvx512Bf16, "avx512_bf16"},
    {kCpuAmxTile, "amx_tile"},  {kCpuAmxBf16, "amx_bf16"},
};

struct NameList {
  char text[128] = {};
  explicit NameList(uint32_t features) {
    size_t length = 0;
    for (const FeatureName& feature : kNames) {
      if ((features & feature.bit) == 0) continue;
      if (length > 0) text[length++] = ' ';
      memcpy(text + length, feature.name, strlen(feature.name));
      length += strlen(feature.name);
    }
  }
};

}  // namespace

#if defined(__x86_64__)
uint32_t features_of(const CpuWords& cpu, bool (*allowed)()) {
  constexpr uint64_t kYmm = 0x06;       // SSE and AVX state
  constexpr uint64_t kZmm = 0xe6;       // ... and masks, upper halves, upper sixteen
  constexpr uint64_t kTiles = 0x60000;  // shapes and contents of tiles
  uint32_t found = 0;
  if ((cpu.saved & kYmm) == kYmm) {
    if (cpu.extended_b & (1u << 5)) found |= kCpuAvx2;
    if (cpu.basic_c & (1u << 12)) found |= kCpuFma;
  }
  if ((cpu.saved & kZmm) == kZmm) {
    if (cpu.extended_b & (1u << 16)) found |= kCpuAvx512F;
    if (cpu.extended_b & (1u << 17)) found |= kCpuAvx512Dq;
    if (cpu.extended_b & (1u << 30)) found |= kCpuAvx512Bw;
    if (cpu.extended_b & (1u << 31)) found |= kCpuAvx512Vl;
    if (cpu.more_a & (1u << 5)) found |= kCpuAvx512Bf16;
  }
  constexpr uint32_t kTileAndBf16 = 1u << 24 | 1u << 22;
  const bool tiles = (cpu.saved & kTiles) == kTiles && (cpu.extended_d & kTileAndBf16) == kTileAndBf16;
  if (tiles && (found & kCpuAvx512Bf16) && allowed()) found |= kCpuAmxTile | kCpuAmxBf16;
  return found;
}
#endif

uint32_t cpu_features() {
  static const uint32_t features = Detect();
  return features;
}

const char* cpu_feature_names() {
  static const NameList names(cpu_features());
  return names.text;
}

#if defined(__x86_64__)

// MXCSR: bit 15 flushes results to zero, bit 6 reads denormals as zero.
FlushDenormals::FlushDenormals() noexcept : saved_(_mm_getcsr()) {
  _mm_setcsr(static_cast<uint32_t>(saved_) | 0x8040u);
}
FlushDenormals::~FlushDenormals() noexcept { _mm_setcsr(static_cast<uint32_t>(saved_)); }

#elif defined(__aarch64__)

// FPCR: bit 24 (FZ) does both.
FlushDenormals::FlushDenormals() noexcept {
  uint64_t fpcr;
  __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
  saved_ = fpcr;
  fpcr |= uint64_t{1} << 24;
  __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
}
FlushDenormals::~FlushDenormals() noexcept { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }

#else

FlushDenormals::FlushDenormals() noexcept : saved_(0) {}
FlushDenormals::~FlushDenormals() noexcept {}

#endif

}  // namespace rrm
