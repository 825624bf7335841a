// Which tables this machine can run. To add a level: one row here, its table in levels.h, a target_*.cc.
#include <string.h>

#include "levels.h"

namespace rrm {
namespace {

struct Level {
  const Kernels* kernels;
  uint32_t needs;
};

// Best first.
constexpr Level kLevels[] = {
#if defined(__x86_64__)
    {&kAvx512, kCpuAvx2 | kCpuFma | kCpuAvx512F | kCpuAvx512Bw | kCpuAvx512Vl | kCpuAvx512Dq},
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
    if ((level.needs & ~features) == 0 && index-- == 0) return level.kernels;
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
