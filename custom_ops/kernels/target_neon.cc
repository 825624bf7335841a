// The neon level: part of every AArch64 CPU, no flags needed.
#if defined(__aarch64__)

#define RRM_LEVEL neon
// clang-format off
#include "vec_neon.h"
#include "kernels-inl.h"
#include "levels.h"
// clang-format on

namespace rrm {

extern const Kernels kNeon = neon::MakeTable("neon");

}  // namespace rrm

#endif  // __aarch64__
