#include "state/floats.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace rrm {
namespace {

constexpr size_t kLargePage = size_t{2} << 20;

}  // namespace

float* allocate_floats(size_t bytes) {
  void* memory = nullptr;
  const size_t large = bytes / kLargePage * kLargePage;  // the part that whole large pages can hold
  if (posix_memalign(&memory, large > 0 ? kLargePage : 64, bytes) != 0) throw std::bad_alloc();
#if defined(__linux__)
  if (large > 0) madvise(memory, large, MADV_HUGEPAGE);  // a wish: what it answers does not matter
#endif
  return static_cast<float*>(memory);
}

}  // namespace rrm
