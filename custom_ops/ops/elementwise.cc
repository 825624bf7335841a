// Binary operators of two maps (Binary) and of a map and a constant (BinaryConst), which may be a map. Either map may
// be one site (a pooled vector, broadcast over sites) or one channel (an attention map, broadcast over channels).
#include <algorithm>
#include <array>
#include <string_view>

#include "ops/ahead.h"
#include "ops/factories.h"
#include "ops/site_node.h"

namespace rrm {
namespace {

BinaryOp parse_op(const std::string& name) {
  constexpr std::array<std::string_view, 7> kNames = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"};
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<BinaryOp>(i);
  }
  throw Error("unknown binary operator '" + name + "'", "convert the model again with this version of rrm_onnx");
}

// One side of the operation for a run of sites: rows where they lie, or copied together where they come in pieces.
struct Side {
  const float* rows;
  int64_t stride;
  bool wide;
};

Side side_of(const MapInput& in, const Run& r, const MapShape& shape, Floats& copy) {
  const bool spread = in.sites() == 1 && static_cast<int64_t>(shape.height) * shape.width != 1;
  const int64_t site = spread ? 0 : static_cast<int64_t>(r.y) * shape.width + r.x;
  const bool wide = in.channels == shape.channels;
  if (in.pieces.size() == 1) {
    return {in.row(in.pieces[0], site), spread ? 0 : in.pieces[0].resident->channels, wide};
  }
  const int64_t n = spread ? 1 : r.n;
  copy.grow(n * in.channels);
  in.copy_rows(site, n, copy.data());
  return {copy.data(), spread ? 0 : in.channels, wide};
}

class Binary final : public SiteNode {
 public:
  Binary(const Attributes& attributes, const Kernels& kernels)
      : SiteNode(attributes, kernels, 2), op_(parse_op(attributes.text("op"))) {
    read_activation(attributes);
  }

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override {
    const MapInput &a = in[0], &b = in[1];
    const bool sizes = (a.height == b.height && a.width == b.width) || a.sites() == 1 || b.sites() == 1;
    const bool channels = a.channels == b.channels || a.channels == 1 || b.channels == 1;
    if (!sizes || !channels) fail("the shapes of its inputs do not broadcast");
    return {std::max(a.height, b.height), std::max(a.width, b.width), std::max(a.channels, b.channels)};
  }

  bool reach(size_t, const MapInput& in, const ChangeMap& changed, const MapShape& shape,
             ChangeMap& out) const override {
    if (in.height != shape.height || in.width != shape.width) return false;
    reach_same(changed, out);
    return true;
  }

  void rows(std::span<const MapInput> in, const MapShape& shape, const SiteState&, const Block& block, Scratch& scratch,
            float* out) const override {
    Ahead first(in[0], block), second(in[1], block);
    for (const Run& r : block.runs) {
      first.pass();
      second.pass();
      const Side a = side_of(in[0], r, shape, scratch.temp), b = side_of(in[1], r, shape, scratch.borders);
      const BinaryArgs args{op_,    a.rows, a.stride,       a.wide, b.rows,        b.stride,
                            b.wide, r.n,    shape.channels, out,    shape.channels};
      kernels_.binary(args);
      out += static_cast<int64_t>(r.n) * shape.channels;
    }
  }

 private:
  const BinaryOp op_;
};

class BinaryConst final : public SiteNode {
 public:
  BinaryConst(const Attributes& attributes, const Kernels& kernels)
      : SiteNode(attributes, kernels, 1),
        op_(parse_op(attributes.text("op"))),
        reverse_(attributes.integer("reverse") != 0) {
    read_activation(attributes);
    const Dense c = attributes.constant(1);
    const bool is_map = c.shape.size() == 3;
    if (c.dtype != Dtype::kFloat || c.count() < 1) fail("its constant is not a float32 vector or map");
    constant_.assign(c.as<float>(), c.as<float>() + c.count());
    channels_ = static_cast<int32_t>(is_map ? c.shape[2] : c.count());
    if (is_map) height_ = static_cast<int32_t>(c.shape[0]), width_ = static_cast<int32_t>(c.shape[1]);
  }

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override {
    const int32_t n = channels_;
    if (n != 1 && in[0].channels != 1 && n != in[0].channels) fail("its constant has another number of channels");
    const bool fits = height_ == 0 || (height_ == in[0].height && width_ == in[0].width);
    if (!fits) fail("its constant has another height or width");
    return {in[0].height, in[0].width, std::max(in[0].channels, n)};
  }

  bool reach(size_t, const MapInput&, const ChangeMap& changed, const MapShape&, ChangeMap& out) const override {
    reach_same(changed, out);
    return true;
  }

  void rows(std::span<const MapInput> in, const MapShape& shape, const SiteState&, const Block& block, Scratch& scratch,
            float* out) const override {
    Ahead ahead(in[0], block);
    for (const Run& r : block.runs) {
      ahead.pass();
      const int64_t site = static_cast<int64_t>(r.y) * shape.width + r.x;
      const int32_t stride = height_ == 0 ? 0 : channels_;
      const Side c{constant_.data() + site * stride, stride, channels_ == shape.channels};
      const Side x = side_of(in[0], r, shape, scratch.temp);
      const Side &a = reverse_ ? c : x, &b = reverse_ ? x : c;
      const BinaryArgs args{op_,    a.rows, a.stride,       a.wide, b.rows,        b.stride,
                            b.wide, r.n,    shape.channels, out,    shape.channels};
      kernels_.binary(args);
      out += static_cast<int64_t>(r.n) * shape.channels;
    }
  }

 private:
  const BinaryOp op_;
  const bool reverse_;
  std::vector<float> constant_;  // one value, one a channel, or rows for height_ * width_ sites
  int32_t channels_ = 1, height_ = 0, width_ = 0;
};

}  // namespace

std::unique_ptr<Node> make_binary(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Binary>(attributes, kernels);
}

std::unique_ptr<Node> make_binary_const(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<BinaryConst>(attributes, kernels);
}

}  // namespace rrm
