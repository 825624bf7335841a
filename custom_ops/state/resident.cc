#include "state/resident.h"

#include <random>

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

Registry& Registry::instance() {
  // Never destroyed: sessions may outlive this library's static objects at exit.
  static Registry* registry = new Registry;
  return *registry;
}

std::shared_ptr<Resident> Registry::create() {
  std::random_device random;
  std::unique_lock lock(mutex_);
  int64_t id = 0;
  while (id == 0 || residents_.contains(id)) {
    const uint64_t bits = static_cast<uint64_t>(random()) << 32 | random();
    id = static_cast<int64_t>(bits >> 1);
  }
  auto resident = std::make_shared<Resident>(id);
  residents_.emplace(id, resident);
  return resident;
}

std::shared_ptr<Resident> Registry::find(int64_t id) const {
  std::shared_lock lock(mutex_);
  const auto it = residents_.find(id);
  return it == residents_.end() ? nullptr : it->second.lock();
}

void Registry::erase(int64_t id) noexcept {
  std::unique_lock lock(mutex_);
  residents_.erase(id);
}

}  // namespace rrm
