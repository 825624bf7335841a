// Max and average pooling.
#include <algorithm>
#include <array>

#include "ops/ahead.h"
#include "ops/factories.h"
#include "ops/geometry.h"

namespace rrm {
namespace {

class Pool : public SiteNode {
 public:
  Pool(const Attributes& attributes, const Kernels& kernels)
      : SiteNode(attributes, kernels, 1), geometry_(attributes), ceil_mode_(attributes.integer("ceil_mode") != 0) {}

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override {
    return geometry_.conv_size(in[0].height, in[0].width, in[0].channels, ceil_mode_);
  }

  bool reach(size_t, const MapInput& in, const ChangeMap& changed, const MapShape&, ChangeMap& out) const override {
    reach_window(changed, geometry_.window(in.height, in.width), out);
    return true;
  }

  void rows(std::span<const MapInput> inputs, const MapShape& shape, const SiteState&, const Block& block,
            Scratch& scratch, float* out) const override {
    sites(inputs[0], geometry_.window(inputs[0].height, inputs[0].width), shape, block, scratch, out);
  }

  // The rows of a block by a pointer for each tap.
  void sites(const MapInput& in, const Window& window, const MapShape& shape, const Block& block, Scratch& scratch,
             float* out) const {
    scratch.pointers.resize(static_cast<size_t>(geometry_.taps()) * block.sites);
    weigh(in, window, block, scratch);
    int32_t at = 0;
    for (const Piece& piece : in.pieces) {
      point_taps(in, {in, piece}, window, block, nullptr, scratch.pointers.data(), block.sites);
      WindowArgs args{};
      args.rows = scratch.pointers.data();
      args.rows_stride = block.sites;
      args.taps = geometry_.taps();
      args.sites = block.sites;
      args.weights = scratch.weights.data();
      args.c = piece.count;
      args.out = out + at;
      args.out_stride = shape.channels;
      window_kernel(args);
      at += piece.count;
    }
  }

  double nanoseconds_per_site(std::span<const MapInput> in, const MapShape& shape) const override {
    return SiteNode::nanoseconds_per_site(in, shape) + 0.1 * geometry_.taps() * shape.channels;
  }

  virtual void weigh(const MapInput&, const Window&, const Block&, Scratch&) const {}
  virtual void window_kernel(const WindowArgs& args) const = 0;

  const Geometry geometry_;
  const bool ceil_mode_;
};

class MaxPool final : public Pool {
 public:
  using Pool::Pool;

 protected:
  void rows(std::span<const MapInput> inputs, const MapShape& shape, const SiteState&, const Block& block,
            Scratch& scratch, float* out) const override {
    const MapInput& in = inputs[0];
    const Window w = geometry_.window(in.height, in.width);
    if (w.kernel[0] > kMostBands) return sites(in, w, shape, block, scratch, out);
    Ahead ahead(in, block, w);
    for (const Run& r : block.runs) {
      ahead.pass();
      std::array<const float*, kMostBands> bands;
      int32_t at = 0;
      for (const Piece& piece : in.pieces) {
        RunArgs args = run_args(in, piece, w, r, bands);
        args.out = out + at;
        kernels_.window_max_run(args);
        at += piece.count;
      }
      out += static_cast<int64_t>(r.n) * shape.channels;
    }
  }
  void window_kernel(const WindowArgs& args) const override { kernels_.window_max(args); }
};

class AveragePool final : public Pool {
 public:
  AveragePool(const Attributes& attributes, const Kernels& kernels)
      : Pool(attributes, kernels), count_pad_(attributes.integer("count_include_pad") != 0) {}

 protected:
  // Each tap weighs 1 / (number of taps that count): those inside the input, and those in the declared padding where
  // the node says so (never what ceil_mode adds behind it).
  void weigh(const MapInput& in, const Window& w, const Block& block, Scratch& scratch) const override {
    scratch.weights.resize(static_cast<size_t>(geometry_.taps()) * block.sites);
    size_t m = 0;
    for (const Run& r : block.runs) {
      const int32_t rows = taps_that_count(w, 0, r.y, in.height);
      for (int32_t x = r.x; x < r.x + r.n; ++x, ++m) {
        const float weight = 1.0f / static_cast<float>(std::max(rows * taps_that_count(w, 1, x, in.width), 1));
        for (int32_t t = 0; t < geometry_.taps(); ++t)
          scratch.weights[static_cast<size_t>(t) * block.sites + m] = weight;
      }
    }
  }
  void window_kernel(const WindowArgs& args) const override { kernels_.window_weighted(args); }

 private:
  int32_t taps_that_count(const Window& w, int axis, int32_t at, int32_t size) const {
    const int32_t lo = count_pad_ ? -w.pad[axis] : 0;
    const int32_t hi = count_pad_ ? size + end_pad(w, axis, size) : size;
    int32_t n = 0;
    for (int32_t k = 0; k < w.kernel[axis]; ++k) {
      const int32_t i = at * w.stride[axis] - w.pad[axis] + k * w.dilation[axis];
      n += i >= lo && i < hi;
    }
    return n;
  }
  // With auto_pad the end padding is what the last window needs.
  int32_t end_pad(const Window& w, int axis, int32_t size) const {
    if (geometry_.explicit_pads()) return geometry_.pad_end(axis);
    const int32_t extent = (w.kernel[axis] - 1) * w.dilation[axis] + 1;
    const int32_t last = (geometry_.out_size(axis, size, false) - 1) * w.stride[axis] - w.pad[axis] + extent;
    return std::max(0, last - size);
  }
  const bool count_pad_;
};

}  // namespace

std::unique_ptr<Node> make_max_pool(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<MaxPool>(attributes, kernels);
}

std::unique_ptr<Node> make_average_pool(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<AveragePool>(attributes, kernels);
}

}  // namespace rrm
