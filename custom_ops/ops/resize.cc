// Resize: nearest and linear, in the coordinate modes of ONNX. Per axis a table says which one or two input coordinates
// an output coordinate reads and how they are blended. ResizeLike takes the output's size from a second map.
#include <algorithm>
#include <cmath>

#include "ops/factories.h"
#include "ops/site_node.h"

namespace rrm {
namespace {

// Output i = (1 - t[i]) * in[lo[i]] + t[i] * in[hi[i]].
struct Axis {
  int32_t in_size = -1;
  AxisSource source;
  std::vector<float> t;
  bool is_for(int32_t in, int32_t out) const { return in_size == in && t.size() == static_cast<size_t>(out); }
};

struct Tables final : Extra {
  Axis axis[2];
  int64_t bytes() const override {
    return static_cast<int64_t>(axis[0].t.size() + axis[1].t.size()) * 3 * static_cast<int64_t>(sizeof(float));
  }
};

class Resize final : public SiteNode {
 public:
  Resize(const Attributes& attributes, const Kernels& kernels, bool like)
      : SiteNode(attributes, kernels, like ? 2 : 1), like_(like) {
    linear_ = attributes.text("mode") == "linear";
    coordinates_ = attributes.text("coordinate_transformation_mode");
    nearest_ = attributes.text("nearest_mode");
    if (like_) return;
    scales_ = attributes.reals("scales");
    sizes_ = attributes.integers("sizes");
    if (scales_.size() != 2 && sizes_.size() != 2) fail("needs two scales or two sizes");
  }

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override {
    if (like_) return {in[1].height, in[1].width, in[0].channels};
    return {out_size(0, in[0].height), out_size(1, in[0].width), in[0].channels};
  }

  bool reach(size_t i, const MapInput& in, const ChangeMap& changed, const MapShape& shape,
             ChangeMap& out) const override {
    if (i == 1) return true;  // of the second map only its size counts
    Axis y, x;
    fill(0, in.height, shape.height, y);
    fill(1, in.width, shape.width, x);
    reach_axes(changed, y.source, x.source, out);
    return true;
  }

  void prepare(Context&, std::span<const MapInput> in, const MapShape& shape, SiteState& state,
               const Update&) override {
    if (state.extra == nullptr) state.extra = std::make_unique<Tables>();
    auto& tables = static_cast<Tables&>(*state.extra);
    if (!tables.axis[0].is_for(in[0].height, shape.height)) fill(0, in[0].height, shape.height, tables.axis[0]);
    if (!tables.axis[1].is_for(in[0].width, shape.width)) fill(1, in[0].width, shape.width, tables.axis[1]);
  }

  void rows(std::span<const MapInput> inputs, const MapShape& shape, const SiteState& state, const Block& block,
            Scratch& scratch, float* out) const override {
    const auto& tables = static_cast<const Tables&>(*state.extra);
    const MapInput& in = inputs[0];
    const int32_t taps = linear_ ? 4 : 1;
    scratch.pointers.resize(static_cast<size_t>(taps) * block.sites);
    scratch.weights.resize(static_cast<size_t>(taps) * block.sites);
    int32_t at = 0;
    for (const Piece& piece : in.pieces) {
      point(in, piece, tables, block, taps, scratch);
      WindowArgs args{};
      args.rows = scratch.pointers.data();
      args.rows_stride = block.sites;
      args.taps = taps;
      args.sites = block.sites;
      args.weights = scratch.weights.data();
      args.c = piece.count;
      args.out = out + at;
      args.out_stride = shape.channels;
      linear_ ? kernels_.window_weighted(args) : kernels_.window_max(args);  // of one row: a copy
      at += piece.count;
    }
  }

 private:
  int32_t out_size(int axis, int32_t size) const {
    if (sizes_.size() == 2) return static_cast<int32_t>(sizes_[axis]);
    return static_cast<int32_t>(std::floor(static_cast<float>(size) * scales_[axis]));
  }

  // Where output coordinate i lies in the input (ONNX Resize, coordinate_transformation_mode).
  float source(int32_t i, float scale, int32_t in_size, int32_t out_size) const {
    const float x = static_cast<float>(i);
    if (coordinates_ == "asymmetric") return x / scale;
    if (coordinates_ == "align_corners") {
      return out_size == 1 ? 0.0f : x * static_cast<float>(in_size - 1) / static_cast<float>(out_size - 1);
    }
    if (coordinates_ == "pytorch_half_pixel" && out_size == 1) return 0.0f;
    return (x + 0.5f) / scale - 0.5f;
  }

  int32_t nearest(float x) const {
    if (nearest_ == "floor") return static_cast<int32_t>(std::floor(x));
    if (nearest_ == "ceil") return static_cast<int32_t>(std::ceil(x));
    // Half-way is what comes this close to it: 1 / (2 / 7) in floats is a little less than 3.5.
    constexpr double kClose = 1e-6;
    if (nearest_ == "round_prefer_ceil") return static_cast<int32_t>(std::floor(x + (0.5 + kClose)));
    return static_cast<int32_t>(std::ceil(x - (0.5 + kClose)));
  }

  void fill(int index, int32_t in_size, int32_t out_size, Axis& axis) const {
    const float scale =
        scales_.size() == 2 ? scales_[index] : static_cast<float>(out_size) / static_cast<float>(in_size);
    axis.in_size = -1;  // until it is complete
    axis.source.lo.resize(out_size);
    axis.source.hi.resize(out_size);
    axis.t.resize(out_size);
    for (int32_t i = 0; i < out_size; ++i) {
      float x = source(i, scale, in_size, out_size);
      if (!linear_) {
        axis.source.lo[i] = axis.source.hi[i] = std::clamp(nearest(x), 0, in_size - 1);
        continue;
      }
      x = std::clamp(x, 0.0f, static_cast<float>(in_size - 1));
      const int32_t lo = static_cast<int32_t>(x);
      axis.source.lo[i] = lo;
      axis.source.hi[i] = std::min(lo + 1, in_size - 1);
      axis.t[i] = x - static_cast<float>(lo);
    }
    axis.in_size = in_size;
  }

  void point(const MapInput& in, const Piece& piece, const Tables& tables, const Block& block, int32_t taps,
             Scratch& scratch) const {
    const Axis &ay = tables.axis[0], &ax = tables.axis[1];
    const float* base = in.row(piece, 0);
    const int64_t pitch = piece.resident->channels;
    size_t m = 0;
    for (const Run& r : block.runs) {
      const float* top = base + static_cast<int64_t>(ay.source.lo[r.y]) * in.width * pitch;
      const float* bottom = base + static_cast<int64_t>(ay.source.hi[r.y]) * in.width * pitch;
      const float ty = linear_ ? ay.t[r.y] : 0.0f;
      for (int32_t x = r.x; x < r.x + r.n; ++x, ++m) {
        const int64_t left = ax.source.lo[x] * pitch, right = ax.source.hi[x] * pitch;
        const auto tap = [&](int32_t t, const float* row, float weight) {
          scratch.pointers[static_cast<size_t>(t) * block.sites + m] = row;
          scratch.weights[static_cast<size_t>(t) * block.sites + m] = weight;
        };
        const float tx = linear_ ? ax.t[x] : 0.0f;
        tap(0, top + left, (1 - ty) * (1 - tx));
        if (taps == 1) continue;
        tap(1, top + right, (1 - ty) * tx);
        tap(2, bottom + left, ty * (1 - tx));
        tap(3, bottom + right, ty * tx);
      }
    }
  }

  const bool like_;
  bool linear_;
  std::string coordinates_, nearest_;
  std::vector<float> scales_;
  std::vector<int64_t> sizes_;
};

}  // namespace

std::unique_ptr<Node> make_resize(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Resize>(attributes, kernels, false);
}

std::unique_ptr<Node> make_resize_like(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Resize>(attributes, kernels, true);
}

}  // namespace rrm
