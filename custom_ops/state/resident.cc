#include "state/resident.h"

#include <random>

namespace rrm {

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
