// Depthwise convolution of a block: a kernel of its own for each channel. Part of Conv and of SeparableConv.
#pragma once

#include <vector>

#include "ops/geometry.h"
#include "ops/site_node.h"

namespace rrm {

class Depthwise {
 public:
  Depthwise() = default;
  // w: [C, 1, kh, kw], b: [C], both float32.
  Depthwise(const Dense& w, const Dense& b);

  int32_t channels() const { return static_cast<int32_t>(bias_.size()); }
  int32_t taps() const { return taps_; }
  int64_t weight_bytes() const {
    return static_cast<int64_t>((static_cast<size_t>(w_.size()) + bias_.size()) * sizeof(float));
  }
  // The block's rows one behind the other: block.sites * channels() floats. ahead: null, or for each site a row of as
  // many floats that is touched next.
  void rows(const Kernels& kernels, const MapInput& in, const Window& window, const Block& block,
            const float* const* ahead, Scratch& scratch, float* out) const;

 private:
  void run(const Kernels& kernels, const MapInput& in, const Window& window, const Run& run, const float* const* ahead,
           float* out) const;
  void sites(const Kernels& kernels, const MapInput& in, const Window& window, const Block& block, Scratch& scratch,
             float* out) const;

  int32_t taps_ = 0;
  Floats w_;  // [taps][C]
  std::vector<float> bias_;
};

}  // namespace rrm
