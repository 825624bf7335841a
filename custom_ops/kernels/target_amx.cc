// The amx level: avx512 with another gemm. Compile with the flags of target_avx512.cc and -mavx512bf16 -mamx-tile
// -mamx-bf16.
#if defined(__x86_64__) && !defined(RRM_NO_AMX)

#define RRM_LEVEL amx
// clang-format off
#include "vec_avx512.h"
#include "kernels-inl.h"
#include "levels.h"
#include "split-inl.h"
#include "tiles_amx.h"
#include "gemm_amx-inl.h"
// clang-format on

namespace rrm {

extern const Kernels kAmx = amx::WithTiles(amx::MakeTable("amx"));

}  // namespace rrm

#endif  // __x86_64__ && !RRM_NO_AMX
