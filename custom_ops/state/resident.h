// Resident tensors, and the registry that finds them by id.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

#include "state/change_map.h"

namespace rrm {

// Memory for this many bytes, to be given back with std::free; large blocks on large pages where the system has them:
// the first frame then takes a page fault for 2 MB instead of 4 KB. Throws std::bad_alloc.
float* allocate_floats(size_t bytes);

// 64-byte aligned floats; contents are undefined after resize.
class Floats {
 public:
  Floats() = default;
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  Floats(Floats&& other) noexcept { swap(other); }
  Floats& operator=(Floats&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Floats() { std::free(data_); }

  void resize(int64_t n) {
    if (n <= capacity_ && n * 4 >= capacity_) {  // also gives memory back after a big frame
      size_ = n;
      return;
    }
    std::free(data_);
    data_ = nullptr;
    capacity_ = size_ = 0;
    if (n != 0) data_ = allocate_floats(static_cast<size_t>(n) * sizeof(float));
    capacity_ = size_ = n;
  }
  void grow(int64_t n) {
    if (n > capacity_) resize(n);
  }
  float* data() { return data_; }
  const float* data() const { return data_; }
  int64_t size() const { return size_; }
  int64_t bytes() const { return capacity_ * static_cast<int64_t>(sizeof(float)); }

 private:
  void swap(Floats& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }
  float* data_ = nullptr;
  int64_t size_ = 0;
  int64_t capacity_ = 0;
};

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

  int64_t sites() const { return static_cast<int64_t>(height) * width; }
  float* row(int64_t site) { return rows.data() + site * channels; }
  int64_t bytes() const { return rows.bytes() + map.bytes(); }
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
