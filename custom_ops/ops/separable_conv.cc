// SeparableConv: a depthwise convolution and the 1x1 convolution behind it, block by block. The rows between them live
// in the first-level cache and are kept only where a gate looks at them: then a site whose depthwise row stands costs
// no more. An exact node keeps none, for what its 1x1 part reads are always rows of this very run.
#include <algorithm>
#include <atomic>

#include "ops/depthwise.h"
#include "ops/factories.h"

namespace rrm {
namespace {

struct Inner final : Extra {
  MapState map;  // the rows between; nobody else reads them
  GateLevel level{Gate::kAll, 0};
  std::atomic<int64_t> changed{0};  // rows that passed in this run
  int64_t bytes() const override { return map.bytes; }
  int64_t output_bytes() const override { return map.output_bytes; }
};

class SeparableConv final : public SiteNode {
 public:
  SeparableConv(const Attributes& attributes, const Kernels& kernels, bool addend)
      : SiteNode(attributes, kernels, 1, addend), geometry_(attributes) {
    read_gate(attributes);
    read_activation(attributes);
    inner_activation_.read(attributes, "inner_activation", "inner_activation_params");
    inner_gate_.threshold = attributes.real("inner_threshold");
    inner_gate_.scale = attributes.real("inner_scale");
    const size_t first = addend ? 2 : 1;
    const Dense w = attributes.constant(first), b = attributes.constant(first + 1);
    const Dense point = attributes.constant(first + 2), bias = attributes.constant(first + 3);
    const bool floats = w.dtype == Dtype::kFloat && b.dtype == Dtype::kFloat && point.dtype == Dtype::kFloat &&
                        bias.dtype == Dtype::kFloat;
    const bool fits = floats && w.shape.size() == 4 && point.shape.size() == 4 && w.shape[1] == 1 &&
                      w.shape[2] * w.shape[3] == geometry_.taps() && b.count() == w.shape[0] &&
                      point.shape[1] == w.shape[0] && point.shape[2] * point.shape[3] == 1 &&
                      bias.count() == point.shape[0];
    if (!fits) fail("its weights and attributes do not fit together");
    has_inner_ = inner_gate_.threshold > 0;
    if (addend && has_inner_) fail("it has an addend and a gate inside, which do not go together");
    deep_ = Depthwise(w, b);
    out_ = static_cast<int32_t>(point.shape[0]);
    pack(point.as<float>(), bias.as<float>());
  }

  bool set_gate(const GateAttributes& gate, const GateAttributes& inner) override {
    if (has_inner_) inner_gate_ = inner;
    return SiteNode::set_gate(gate, inner);
  }
  int64_t weight_bytes() override { return packed_.bytes() + deep_.weight_bytes(); }

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override {
    if (in[0].channels != deep_.channels()) {
      fail("expects " + std::to_string(deep_.channels()) + " channels, got " + std::to_string(in[0].channels));
    }
    return geometry_.conv_size(in[0].height, in[0].width, out_);
  }

  bool reach(size_t, const MapInput& in, const ChangeMap& changed, const MapShape&, ChangeMap& out) const override {
    reach_window(changed, geometry_.window(in.height, in.width), out);
    return true;
  }

  void prepare(Context&, std::span<const MapInput>, const MapShape& shape, SiteState& state,
               const Update& update) override {
    const bool fresh = update.fresh;
    if (!gated()) return;
    if (state.extra == nullptr) state.extra = std::make_unique<Inner>();
    Inner& inner = *static_cast<Inner*>(state.extra.get());
    const bool anew = inner.map.begin({shape.height, shape.width, deep_.channels()});
    inner.level = inner.map.level(inner_gate_, state.tolerance, state.turn, fresh || anew);
    inner.changed = 0;
  }

  Block narrow(std::span<const MapInput> in, const MapShape&, SiteState& state, const GateLevel& level,
               const Block& block, Scratch& scratch) override {
    if (!gated()) return block;
    Inner& inner = *static_cast<Inner*>(state.extra.get());
    Resident& map = *inner.map.out;
    point_rows(map, block, scratch.held);
    const float* fresh = middle(in[0], block, scratch.ahead(), scratch);
    PhaseClock::of_thread().lap(Phase::kKernel);
    const Gate gate = level.gate == Gate::kAll ? Gate::kAll : inner.level.gate;
    scratch.kept.clear();
    const auto sites = static_cast<int32_t>(
        commit_block(kernels_, fresh, map, block, {gate, inner.level.limit}, scratch.held, nullptr, scratch,
                     [&](const Run& r, const uint64_t* bits) { append_runs(r, bits, scratch.kept); }));
    inner.changed += sites;
    PhaseClock::of_thread().lap(Phase::kGate);
    // With a narrower factor a row behind may be too far off although the row between stands.
    if (state.narrower) return block;
    stats_.macs_done -= static_cast<int64_t>(block.sites - sites) * deep_.channels() * out_;
    return {scratch.kept, sites};
  }

  void rows(std::span<const MapInput> in, const MapShape&, const SiteState& state, const Block& block, Scratch& scratch,
            float* out) const override {
    if (gated()) {
      point_rows(*static_cast<const Inner*>(state.extra.get())->map.out, block, scratch.pointers);
    } else {
      const float* row = middle(in[0], block, nullptr, scratch);
      scratch.pointers.resize(block.sites);
      for (int32_t m = 0; m < block.sites; ++m, row += deep_.channels()) scratch.pointers[m] = row;
    }
    PhaseClock::of_thread().lap(Phase::kKernel);
    const int32_t k = deep_.channels();
    GemmArgs args{};
    args.rows = scratch.pointers.data();
    args.rows_stride = block.sites;
    args.lens = &k;
    args.pieces = 1;
    args.sites = block.sites;
    args.packed = packed_.data();
    args.k = k;
    args.n = out_;
    args.out = out;
    args.out_stride = out_;
    args.ahead = scratch.ahead();
    kernels_.gemm(args);
    PhaseClock::of_thread().lap(Phase::kGemm);
  }

  void finished(SiteState& state, bool fresh) override {
    if (!gated()) return;
    Inner& inner = *static_cast<Inner*>(state.extra.get());
    inner.map.finish(inner_gate_, kernels_, inner.changed, fresh);
    state.inner_scale = inner.map.scale.load();
  }

  bool narrows(const SiteState& state, float factor) const override {
    return SiteNode::narrows(state, factor) || (gated() && factor < state.tolerance);
  }

  int32_t widest(const MapShape& shape) const override { return std::max(shape.channels, deep_.channels()); }

  bool fetches(const SiteState&) const override { return true; }

  double macs_per_site(std::span<const MapInput>, const MapShape&) const override {
    return static_cast<double>(deep_.channels()) * (deep_.taps() + out_);
  }

  double nanoseconds_per_site(std::span<const MapInput> in, const MapShape& shape) const override {
    const double c = deep_.channels();
    return c * deep_.taps() / 10.0 + c * out_ / 40.0 + 0.3 * c + SiteNode::nanoseconds_per_site(in, shape);
  }

 private:
  // Whether the rows between are held, so that a gate can tell which of them stand. Never with an addend: where that
  // changes a site has to be computed whatever the rows between say.
  bool gated() const { return inner_gate_.threshold > 0; }

  void pack(const float* point, const float* bias) {
    const int32_t c = deep_.channels();
    std::vector<float> matrix(static_cast<size_t>(c) * out_);
    for (int32_t i = 0; i < c; ++i) {
      for (int32_t j = 0; j < out_; ++j)
        matrix[static_cast<size_t>(i) * out_ + j] = point[static_cast<size_t>(j) * c + i];
    }
    packed_.resize(kernels_.gemm_packed_floats(c, out_));
    kernels_.gemm_pack(matrix.data(), c, out_, bias, packed_.data());
  }

  // The block's rows between the two convolutions, one behind the other.
  const float* middle(const MapInput& in, const Block& block, const float* const* ahead, Scratch& scratch) const {
    scratch.temp.grow(static_cast<int64_t>(block.sites) * deep_.channels());
    float* rows = scratch.temp.data();
    deep_.rows(kernels_, in, geometry_.window(in.height, in.width), block, ahead, scratch, rows);
    inner_activation_.apply(kernels_, rows, block.sites, deep_.channels());
    return rows;
  }

  const Geometry geometry_;
  Depthwise deep_;
  FusedActivation inner_activation_;
  GateAttributes inner_gate_;
  bool has_inner_;  // it was converted with a gate inside
  int32_t out_;
  Floats packed_;
};

}  // namespace

std::unique_ptr<Node> make_separable_conv(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<SeparableConv>(attributes, kernels, false);
}

std::unique_ptr<Node> make_separable_conv_add(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<SeparableConv>(attributes, kernels, true);
}

}  // namespace rrm
