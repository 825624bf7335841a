// What a node's run begins with: its own bookkeeping, last touched a frame ago and by now far away. A run notes where
// that is, and the next one finds it near, for it was asked for while the node in front was at work.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kernels/table.h"

namespace rrm {

// Asks for the lines of [at, at + bytes). By numbers: what an object's end is, the caller may only guess.
inline void fetch_lines(const void* at, size_t bytes) {
  const auto first = reinterpret_cast<uintptr_t>(at);
  for (uintptr_t line = first; line < first + bytes; line += 64) Prefetch(reinterpret_cast<const void*>(line));
}

class Footprint {
 public:
  static constexpr size_t kPlaces = 10;
  // About what is looked at of a node's object at each of its ends.
  static constexpr size_t kObject = 640;

  // Any thread, any number at once: it is a hint, and no result hangs on it. Where it says nothing new it is not
  // written, for the line is shared.
  void note(size_t place, const void* at, size_t bytes) {
    Place& p = places_[place];
    const auto size = static_cast<int32_t>(std::min(bytes, kMost));
    if (p.at.load(std::memory_order_relaxed) != at) p.at.store(at, std::memory_order_relaxed);
    if (p.bytes.load(std::memory_order_relaxed) != size) p.bytes.store(size, std::memory_order_relaxed);
  }

  // What was there may be gone: then nothing is there to be asked for, which does no harm.
  void fetch() const {
    for (const Place& p : places_) {
      fetch_lines(p.at.load(std::memory_order_relaxed), static_cast<size_t>(p.bytes.load(std::memory_order_relaxed)));
    }
  }

 private:
  static constexpr size_t kMost = 4096;
  struct Place {
    std::atomic<const void*> at{nullptr};
    std::atomic<int32_t> bytes{0};
  };
  std::array<Place, kPlaces> places_;
};

}  // namespace rrm
