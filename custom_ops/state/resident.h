// Resident tensors, and the registry that finds them by id.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "state/change_map.h"
#include "state/deltas.h"
#include "state/floats.h"

namespace rrm {

// A feature map kept between runs. `mutex`: shared to read anything below, exclusive to change it.
// version counts updates and never goes back, whatever happens to the shape; `map` tells what changed from `base` to
// `version`. While usable is false the rows are not to be read: a run broke off, or none has finished yet.
struct Resident {
  explicit Resident(int64_t id_) : id(id_) {}

  const int64_t id;
  std::shared_mutex mutex;
  int32_t height = 0;
  int32_t width = 0;
  int32_t channels = 0;
  Floats rows;  // height * width * channels, NHWC
  int64_t base = 0;
  int64_t version = 0;
  ChangeMap map;
  int64_t changed = 0;  // set bits of map
  bool usable = false;
  Deltas deltas;  // of the update to `version`, where a consumer asked for them

  int64_t sites() const { return static_cast<int64_t>(height) * width; }
  float* row(int64_t site) { return rows.data() + site * channels; }
  int64_t bytes() const { return rows.bytes() + map.bytes() + deltas.bytes(); }
};

// Ids are random and never reused, so a ticket from elsewhere finds nothing instead of something wrong.
class Registry {
 public:
  static Registry& instance();
  std::shared_ptr<Resident> create();
  std::shared_ptr<Resident> find(int64_t id) const;  // null when there is none
  void erase(int64_t id) noexcept;

 private:
  mutable std::shared_mutex mutex_;
  std::unordered_map<int64_t, std::weak_ptr<Resident>> residents_;
};

// Owns a resident for a node and one stream; takes it off the registry in the end.
class OwnedResident {
 public:
  OwnedResident() : resident_(Registry::instance().create()) {}
  ~OwnedResident() { Registry::instance().erase(resident_->id); }
  OwnedResident(const OwnedResident&) = delete;
  OwnedResident& operator=(const OwnedResident&) = delete;
  Resident& operator*() const { return *resident_; }
  Resident* operator->() const { return resident_.get(); }

 private:
  std::shared_ptr<Resident> resident_;
};

}  // namespace rrm
