// Pooling over the whole map. A partial result per map row is kept: a frame costs the rows in which something changed,
// and the total is always the same sum of the same partial sums, so it is exact.
#include <algorithm>
#include <limits>

#include "ops/factories.h"
#include "ops/site_node.h"

namespace rrm {
namespace {

struct Partial final : Extra {
  int32_t rows = 0;
  int32_t channels = 0;
  Floats values;  // rows * channels
  int64_t bytes() const override { return values.bytes(); }
};

class GlobalPool : public SiteNode {
 public:
  GlobalPool(const Attributes& attributes, const Kernels& kernels) : SiteNode(attributes, kernels, 1) {}

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override { return {1, 1, in[0].channels}; }

  bool reach(size_t, const MapInput&, const ChangeMap&, const MapShape&, ChangeMap&) const override { return false; }

  void prepare(Context&, std::span<const MapInput> inputs, const MapShape&, SiteState& state,
               const Update& update) override {
    const bool fresh = update.fresh;
    const MapInput& in = inputs[0];
    const FlushDenormals flush;
    if (state.extra == nullptr) state.extra = std::make_unique<Partial>();
    auto& partial = static_cast<Partial&>(*state.extra);
    // Only a known change map may leave partial results as they are.
    const bool all = fresh || in.everything || partial.rows != in.height || partial.channels != in.channels;
    if (all) {
      partial.rows = in.height;
      partial.channels = in.channels;
      partial.values.resize(static_cast<int64_t>(in.height) * in.channels);
    }
    for (int32_t y = 0; y < in.height; ++y) {
      if (!all && (in.one == nullptr || !in.one->row_any(y))) continue;
      float* to = partial.values.data() + static_cast<int64_t>(y) * in.channels;
      for (const Piece& p : in.pieces) {
        reduce(in.row(p, static_cast<int64_t>(y) * in.width), p.resident->channels, in.width, p.count, to);
        to += p.count;
      }
    }
  }

  void rows(std::span<const MapInput> in, const MapShape& shape, const SiteState& state, const Block&, Scratch&,
            float* out) const override {
    const auto& partial = static_cast<const Partial&>(*state.extra);
    reduce(partial.values.data(), shape.channels, partial.rows, shape.channels, out);
    finish(in[0], out);
  }

  virtual void reduce(const float* rows, int64_t stride, int32_t sites, int32_t c, float* out) const = 0;
  virtual void finish(const MapInput&, float*) const {}
};

class GlobalAveragePool final : public GlobalPool {
 public:
  using GlobalPool::GlobalPool;

 protected:
  void reduce(const float* rows, int64_t stride, int32_t sites, int32_t c, float* out) const override {
    kernels_.row_sum(rows, stride, sites, c, out);
  }
  void finish(const MapInput& in, float* out) const override {
    const float share = 1.0f / static_cast<float>(in.sites());
    for (int32_t j = 0; j < in.channels; ++j) out[j] *= share;
  }
};

class GlobalMaxPool final : public GlobalPool {
 public:
  using GlobalPool::GlobalPool;

 protected:
  void reduce(const float* rows, int64_t stride, int32_t sites, int32_t c, float* out) const override {
    kernels_.row_max(rows, stride, sites, c, out);
  }
};

}  // namespace

std::unique_ptr<Node> make_global_average_pool(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<GlobalAveragePool>(attributes, kernels);
}

std::unique_ptr<Node> make_global_max_pool(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<GlobalMaxPool>(attributes, kernels);
}

}  // namespace rrm
