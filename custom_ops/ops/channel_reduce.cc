// ChannelReduce: mean, sum, length or maximum over the channels of each site: a map of one channel.
#include <array>
#include <cmath>
#include <string_view>

#include "ops/factories.h"
#include "ops/row_node.h"

namespace rrm {
namespace {

enum class Reduction { kMean, kSum, kL2, kMax };

Reduction parse(const std::string& name) {
  constexpr std::array<std::string_view, 4> kNames = {"Mean", "Sum", "L2", "Max"};
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<Reduction>(i);
  }
  throw Error("unknown reduction '" + name + "'", "convert the model again with this version of rrm_onnx");
}

// Partial results of a row, channel c in place c % kLanes: an order of summation that a compiler may turn into vectors,
// and that is the same for every row (A4).
constexpr int32_t kLanes = 16;
using Lanes = std::array<float, kLanes>;

template <typename Step>
Lanes fold(const float* x, int32_t c, float first, Step step) {
  Lanes lanes;
  lanes.fill(first);
  int32_t j = 0;
  for (; j + kLanes <= c; j += kLanes) {
    for (int32_t k = 0; k < kLanes; ++k) lanes[k] = step(lanes[k], x[j + k]);
  }
  for (int32_t k = 0; j < c; ++j, ++k) lanes[k] = step(lanes[k], x[j]);
  return lanes;
}

float sum(const Lanes& lanes) {
  float total = 0;
  for (float v : lanes) total += v;
  return total;
}

float maximum(const float* x, int32_t c) {
  const auto larger = [](float a, float b) { return b > a || b != b ? b : a; };  // a NaN stays
  float top = x[0];
  for (float v : fold(x, c, x[0], larger)) top = larger(top, v);
  return top;
}

class ChannelReduce final : public RowNode {
 public:
  ChannelReduce(const Attributes& attributes, const Kernels& kernels)
      : RowNode(attributes, kernels), reduction_(parse(attributes.text("reduction"))) {}

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override { return {in[0].height, in[0].width, 1}; }

  void apply(const RowArgs& args) const override {
    for (int32_t m = 0; m < args.sites; ++m) args.out[m] = of_row(args.rows + m * args.row_stride, args.c);
  }

 private:
  float of_row(const float* x, int32_t c) const {
    const auto add = [](float a, float b) { return a + b; };
    const auto add_square = [](float a, float b) { return a + b * b; };
    switch (reduction_) {
      case Reduction::kMean:
        return sum(fold(x, c, 0, add)) / static_cast<float>(c);
      case Reduction::kSum:
        return sum(fold(x, c, 0, add));
      case Reduction::kL2:
        return std::sqrt(sum(fold(x, c, 0, add_square)));
      case Reduction::kMax:
        break;
    }
    return maximum(x, c);
  }

  const Reduction reduction_;
};

}  // namespace

std::unique_ptr<Node> make_channel_reduce(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<ChannelReduce>(attributes, kernels);
}

}  // namespace rrm
