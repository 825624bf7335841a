// Pad over space: constant, reflect, edge, wrap; negative pads crop. PadLike centres a map in the size of a second one,
// which may crop it.
#include <algorithm>

#include "ops/factories.h"
#include "ops/site_node.h"

namespace rrm {
namespace {

class Pad final : public SiteNode {
 public:
  Pad(const Attributes& attributes, const Kernels& kernels, bool like)
      : SiteNode(attributes, kernels, like ? 2 : 1),
        like_(like),
        mode_(like ? "constant" : attributes.text("mode")),
        value_(attributes.real("value")) {
    if (like_) return;
    const std::vector<int64_t> pads = attributes.integers("pads");
    if (pads.size() != 4) fail("pads needs four numbers");
    std::copy(pads.begin(), pads.end(), pads_);
  }

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override {
    if (like_) return {in[1].height, in[1].width, in[0].channels};
    const int64_t h = in[0].height + pads_[0] + pads_[2], w = in[0].width + pads_[1] + pads_[3];
    if (h < 1 || w < 1) fail("padding leaves nothing of its input");
    const bool reflects = mode_ != "reflect" ||
                          (std::max(pads_[0], pads_[2]) < in[0].height && std::max(pads_[1], pads_[3]) < in[0].width);
    if (!reflects) fail("reflects further than its input reaches");
    return {static_cast<int32_t>(h), static_cast<int32_t>(w), in[0].channels};
  }

  bool reach(size_t i, const MapInput& in, const ChangeMap& changed, const MapShape& shape,
             ChangeMap& out) const override {
    if (i == 1) return true;  // of the second map only its size counts
    const auto axis = [&](int32_t before, int32_t size, int32_t out_size) {
      AxisSource s;
      for (int32_t i = 0; i < out_size; ++i) {
        const int32_t at = source(i - before, size);
        s.lo.push_back(std::max(at, 0));
        s.hi.push_back(at);  // -1: reads nothing
      }
      return s;
    };
    const int32_t top = before(0, in.height, shape.height), left = before(1, in.width, shape.width);
    reach_axes(changed, axis(top, in.height, shape.height), axis(left, in.width, shape.width), out);
    return true;
  }

  void rows(std::span<const MapInput> in, const MapShape& shape, const SiteState&, const Block& block, Scratch&,
            float* out) const override {
    const int32_t top = before(0, in[0].height, shape.height), left = before(1, in[0].width, shape.width);
    for (const Run& r : block.runs) {
      const int32_t y = source(r.y - top, in[0].height);
      for (int32_t x = r.x; x < r.x + r.n; ++x, out += shape.channels) {
        const int32_t at = source(x - left, in[0].width);
        if (y < 0 || at < 0) {
          std::fill(out, out + shape.channels, value_);
        } else {
          in[0].copy_rows(static_cast<int64_t>(y) * in[0].width + at, 1, out);
        }
      }
    }
  }

 private:
  // What is added before the input along an axis; negative: cut off.
  int32_t before(int axis, int32_t size, int32_t out_size) const {
    return like_ ? (out_size - size) / 2 : static_cast<int32_t>(pads_[axis]);
  }

  // The input coordinate that coordinate i (0 = the input's first) shows; -1: the constant.
  int32_t source(int32_t i, int32_t size) const {
    if (i >= 0 && i < size) return i;
    if (mode_ == "edge") return std::clamp(i, 0, size - 1);
    if (mode_ == "wrap") return (i % size + size) % size;
    if (mode_ == "reflect") return i < 0 ? -i : 2 * (size - 1) - i;
    return -1;
  }

  const bool like_;
  const std::string mode_;
  const float value_;
  int64_t pads_[4] = {};
};

}  // namespace

std::unique_ptr<Node> make_pad(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Pad>(attributes, kernels, false);
}

std::unique_ptr<Node> make_pad_like(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Pad>(attributes, kernels, true);
}

}  // namespace rrm
