// Which tables this machine can run. To add a level: one row here, its table in levels.h, a target_*.cc.
#include <string.h>

#include "levels.h"

namespace rrm {
namespace {

struct Level {
  const Kernels* kernels;
  uint32_t needs;
  bool (*works)() = nullptr;  // asked once, where the features are there; a level that does not is left out
};

#if defined(__x86_64__)
constexpr uint32_t kAvx512Needs = kCpuAvx2 | kCpuFma | kCpuAvx512F | kCpuAvx512Bw | kCpuAvx512Vl | kCpuAvx512Dq;

#if !defined(RRM_NO_AMX)
bool AmxWorks() {
  static const bool works = multiplies_right(kAmx);
  return works;
}
#endif
#endif

// Best first.
constexpr Level kLevels[] = {
#if defined(__x86_64__)
#if !defined(RRM_NO_AMX)
    {&kAmx, kAvx512Needs | kCpuAvx512Bf16 | kCpuAmxTile | kCpuAmxBf16, AmxWorks},
#endif
    {&kAvx512, kAvx512Needs},
    {&kAvx2, kCpuAvx2 | kCpuFma},
#elif defined(__aarch64__)
    {&kNeon, kCpuNeon},
#endif
    {&kPortable, 0},
};

}  // namespace

const Kernels* available_kernels(int32_t index) {
  const uint32_t features = cpu_features();
  for (const Level& level : kLevels) {
    if ((level.needs & ~features) != 0 || (level.works != nullptr && !level.works())) continue;
    if (index-- == 0) return level.kernels;
  }
  return nullptr;
}

const Kernels* find_kernels(const char* name) {
  if (name == nullptr) return nullptr;
  for (int32_t i = 0;; ++i) {
    const Kernels* kernels = available_kernels(i);
    if (kernels == nullptr || strcmp(kernels->name, name) == 0) return kernels;
  }
}

}  // namespace rrm
