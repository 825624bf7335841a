// Operators that move channels: Gather over channels, SpaceToDepth, DepthToSpace.
#include <cstring>

#include "ops/factories.h"
#include "ops/geometry.h"
#include "ops/row_node.h"

namespace rrm {
namespace {

class Gather final : public RowNode {
 public:
  Gather(const Attributes& attributes, const Kernels& kernels) : RowNode(attributes, kernels) {
    for (int64_t i : attributes.integers("indices")) indices_.push_back(static_cast<int32_t>(i));
    for (size_t i = 0; i < indices_.size(); ++i) plain_ = plain_ && indices_[i] == static_cast<int32_t>(i);
  }

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override {
    for (int32_t i : indices_) {
      if (i < 0 || i >= in[0].channels) fail("a channel index lies outside its input");
    }
    return {in[0].height, in[0].width, static_cast<int32_t>(indices_.size())};
  }

  void rows(std::span<const MapInput> in, const MapShape& shape, const SiteState& state, const Block& block,
            Scratch& scratch, float* out) const override {
    if (!plain_ || in[0].channels != shape.channels) return RowNode::rows(in, shape, state, block, scratch, out);
    for (const Run& r : block.runs) {
      in[0].copy_rows(static_cast<int64_t>(r.y) * shape.width + r.x, r.n, out);
      out += static_cast<int64_t>(r.n) * shape.channels;
    }
  }

  void apply(const RowArgs& args) const override {
    const auto n = static_cast<int32_t>(indices_.size());
    kernels_.gather_channels(args.rows, args.row_stride, args.sites, indices_.data(), n, args.out, n);
  }

  double nanoseconds_per_site(std::span<const MapInput> in, const MapShape& shape) const override {
    return SiteNode::nanoseconds_per_site(in, shape);  // it moves values, and computes none
  }

 private:
  std::vector<int32_t> indices_;
  bool plain_ = true;  // every channel in its place: rows in pieces become rows in one piece
};

// Output channel (by * b + bx) * C + c at (y, x) is input channel c at (y * b + by, x * b + bx).
class SpaceToDepth final : public SiteNode {
 public:
  SpaceToDepth(const Attributes& attributes, const Kernels& kernels)
      : SiteNode(attributes, kernels, 1), b_(static_cast<int32_t>(attributes.integer("blocksize"))) {
    if (b_ < 1) fail("blocksize must be positive");
  }

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override {
    if (in[0].height % b_ != 0 || in[0].width % b_ != 0) fail("its input's size is no multiple of the block size");
    return {in[0].height / b_, in[0].width / b_, in[0].channels * b_ * b_};
  }

  bool reach(size_t, const MapInput&, const ChangeMap& changed, const MapShape&, ChangeMap& out) const override {
    reach_window(changed, Window{{b_, b_}, {b_, b_}, {1, 1}, {0, 0}}, out);
    return true;
  }

  void rows(std::span<const MapInput> in, const MapShape&, const SiteState&, const Block& block, Scratch&,
            float* out) const override {
    const int64_t stretch = static_cast<int64_t>(b_) * in[0].channels;
    for (const Run& r : block.runs) {
      for (int32_t x = r.x; x < r.x + r.n; ++x) {
        for (int32_t by = 0; by < b_; ++by) {
          in[0].copy_rows(static_cast<int64_t>(r.y * b_ + by) * in[0].width + x * b_, b_, out);
          out += stretch;
        }
      }
    }
  }

 private:
  const int32_t b_;
};

// Output channel c at (y * b + by, x * b + bx) is input channel (by * b + bx) * C + c (DCR) or c * b * b + by * b + bx
// (CRD).
class DepthToSpace final : public SiteNode {
 public:
  DepthToSpace(const Attributes& attributes, const Kernels& kernels)
      : SiteNode(attributes, kernels, 1),
        b_(static_cast<int32_t>(attributes.integer("blocksize"))),
        column_first_(attributes.text("mode") == "CRD") {
    if (b_ < 1) fail("blocksize must be positive");
  }

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override {
    if (in[0].channels % (b_ * b_) != 0) fail("its input's channels are no multiple of the square of the block size");
    return {in[0].height * b_, in[0].width * b_, in[0].channels / (b_ * b_)};
  }

  bool reach(size_t, const MapInput&, const ChangeMap& changed, const MapShape&, ChangeMap& out) const override {
    reach_transposed(changed, Window{{b_, b_}, {b_, b_}, {1, 1}, {0, 0}}, out);
    return true;
  }

  void rows(std::span<const MapInput> in, const MapShape& shape, const SiteState&, const Block& block, Scratch& scratch,
            float* out) const override {
    scratch.temp.grow(in[0].channels);
    for (const Run& r : block.runs) {
      for (int32_t x = r.x; x < r.x + r.n; ++x) {
        in[0].copy_rows(static_cast<int64_t>(r.y / b_) * in[0].width + x / b_, 1, scratch.temp.data());
        const int32_t place = r.y % b_ * b_ + x % b_;
        for (int32_t c = 0; c < shape.channels; ++c) {
          *out++ = scratch.temp.data()[column_first_ ? c * b_ * b_ + place : place * shape.channels + c];
        }
      }
    }
  }

 private:
  const int32_t b_;
  const bool column_first_;
};

}  // namespace

std::unique_ptr<Node> make_gather(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Gather>(attributes, kernels);
}

std::unique_ptr<Node> make_space_to_depth(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<SpaceToDepth>(attributes, kernels);
}

std::unique_ptr<Node> make_depth_to_space(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<DepthToSpace>(attributes, kernels);
}

}  // namespace rrm
