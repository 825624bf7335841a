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

class Footprint {
 public:
  static constexpr size_t kPlaces = 12;

  // Any thread, any number at once: it is a hint, and no result hangs on it. Where it says nothing new it is not
  // written, for the line is shared.
  void note(size_t place, const void* at, size_t bytes) {
    Place& p = places_[place];
    const auto lines = static_cast<int32_t>(std::min<size_t>((bytes + kLine - 1) / kLine, kMostLines));
    if (p.at.load(std::memory_order_relaxed) != at) p.at.store(at, std::memory_order_relaxed);
    if (p.lines.load(std::memory_order_relaxed) != lines) p.lines.store(lines, std::memory_order_relaxed);
  }

  // What was there may be gone: then nothing is there to be asked for, which does no harm.
  void fetch() const {
    for (const Place& p : places_) {
      const auto* at = static_cast<const char*>(p.at.load(std::memory_order_relaxed));
      const int32_t lines = p.lines.load(std::memory_order_relaxed);
      for (int32_t i = 0; i < lines; ++i) Prefetch(at + i * kLine);
    }
  }

 private:
  static constexpr size_t kLine = 64, kMostLines = 64;
  struct Place {
    std::atomic<const void*> at{nullptr};
    std::atomic<int32_t> lines{0};
  };
  std::array<Place, kPlaces> places_;
};

}  // namespace rrm
