// The avx512 level: compile with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma.
#if defined(__x86_64__)

#define RRM_LEVEL avx512
// clang-format off
#include "vec_avx512.h"
#include "kernels-inl.h"
#include "levels.h"
// clang-format on

namespace rrm {

extern const Kernels kAvx512 = avx512::MakeTable("avx512");

}  // namespace rrm

#endif  // __x86_64__
