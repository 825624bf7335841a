// Packed weights of some of a convolution's output channels.
#pragma once

#include <cstdint>
#include <vector>

#include "state/floats.h"

namespace rrm {

// Output channels [first, first + n).
struct Columns {
  int32_t first;
  int32_t n;
  Floats packed;
};

// Weights of more floats than this do not stay in a second-level cache while other things are read. They are packed in
// parts of whole panels at every level, so that threads can share the columns of few sites: each weight is then read
// once, and not once by each thread.
constexpr int64_t kManyWeights = 1 << 17;

// First channels of the parts for `out` channels of k weights each.
inline std::vector<int32_t> column_parts(int32_t k, int32_t out) {
  constexpr int32_t kWidth = 64, kMost = 4;
  const int32_t panels = out / kWidth;
  const int32_t parts =
      static_cast<int64_t>(k) * out > kManyWeights && panels > 1 ? (panels < kMost ? panels : kMost) : 1;
  std::vector<int32_t> first;
  for (int32_t p = 0; p < parts; ++p) first.push_back(panels * p / parts * kWidth);
  return first;
}

}  // namespace rrm
