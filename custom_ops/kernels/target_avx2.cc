// The avx2 level: compile with -mavx2 -mfma.
#if defined(__x86_64__)

#define RRM_LEVEL avx2
// clang-format off
#include "vec_avx2.h"
#include "kernels-inl.h"
#include "levels.h"
// clang-format on

namespace rrm {

extern const Kernels kAvx2 = avx2::MakeTable("avx2");

}  // namespace rrm

#endif  // __x86_64__
