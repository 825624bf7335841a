// Memory of rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

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

}  // namespace rrm
