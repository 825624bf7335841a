// The portable level: no flags beyond the project's.
#define RRM_LEVEL portable
// clang-format off
#include "vec_portable.h"
#include "kernels-inl.h"
#include "levels.h"
// clang-format on

namespace rrm {

extern const Kernels kPortable = portable::MakeTable("portable");

}  // namespace rrm
