// Convolution: active output sites from the held input ("recompute"), or, under a tolerance and where that is less,
// from what the input changed by (residual.h).
#include <algorithm>
#include <cstring>
#include <utility>

#include "ops/ahead.h"
#include "ops/columns.h"
#include "ops/depthwise.h"
#include "ops/factories.h"
#include "ops/geometry.h"
#include "ops/residual.h"

namespace rrm {
namespace {

// Weights of a convolution as the kernels want them.
struct Weights {
  // first: the input that the weights are.
  Weights(const Attributes& attributes, size_t first, int64_t group_, int32_t taps_)
      : group(static_cast<int32_t>(group_)), taps(taps_) {
    w = attributes.constant(first);
    b = attributes.constant(first + 1);
    if (w.dtype != Dtype::kFloat || b.dtype != Dtype::kFloat || w.shape.size() != 4 || group < 1 ||
        w.shape[0] % group != 0 || b.count() != w.shape[0] || w.shape[2] * w.shape[3] != taps) {
      throw Error("rrm node '" + attributes.node_name() + "': weights, bias and attributes do not fit together");
    }
    out = static_cast<int32_t>(w.shape[0]);
    group_in = static_cast<int32_t>(w.shape[1]);
  }
  // Rows k = (tap, channel), columns = output channels [first, first + n), which are of one group.
  std::vector<float> matrix(int32_t first, int32_t n) const {
    std::vector<float> m(static_cast<size_t>(taps) * group_in * n);
    for (int32_t t = 0; t < taps; ++t) {
      for (int32_t c = 0; c < group_in; ++c) {
        for (int32_t j = 0; j < n; ++j) {
          m[(static_cast<size_t>(t) * group_in + c) * n + j] =
              w.as<float>()[(static_cast<size_t>(first + j) * group_in + c) * taps + t];
        }
      }
    }
    return m;
  }
  Dense w, b;
  int32_t group, taps, out, group_in;
};

class Conv final : public SiteNode {
 public:
  Conv(const Attributes& attributes, const Kernels& kernels, bool addend)
      : SiteNode(attributes, kernels, 1, addend), geometry_(attributes) {
    read_gate(attributes);
    read_activation(attributes);
    const Weights weights(attributes, addend ? 2 : 1, attributes.integer("group"), geometry_.taps());
    group_ = weights.group;
    in_ = weights.group_in * group_;
    out_ = weights.out;
    depthwise_ = weights.group_in == 1 && out_ == group_ && group_ > 1;
    if (depthwise_) {
      deep_ = Depthwise(weights.w, weights.b);
      return;
    }
    k_ = geometry_.taps() * weights.group_in;
    adds_ = threshold() > 0 && group_ == 1 && geometry_.taps() > 1 && geometry_.kernel()[1] <= kWidest &&
            in_ >= kLeastChannels && kernels.gemm_add != nullptr;
    if (group_ > 1) {
      for (int32_t g = 0; g < group_; ++g) pack(weights, g * (out_ / group_), out_ / group_);
    } else {
      const std::vector<int32_t> first = column_parts(k_, out_);
      for (size_t i = 0; i < first.size(); ++i) {
        pack(weights, first[i], (i + 1 < first.size() ? first[i + 1] : out_) - first[i]);
      }
    }
    residual_ = Residual(kernels, geometry_, columns_, in_, out_);
  }

  int64_t weight_bytes() override {
    int64_t bytes = deep_.weight_bytes();
    for (const Columns& c : columns_) bytes += c.packed.bytes();
    return bytes;
  }

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override {
    if (in[0].channels != in_)
      fail("expects " + std::to_string(in_) + " channels, got " + std::to_string(in[0].channels));
    return geometry_.conv_size(in[0].height, in[0].width, out_);
  }

  bool reach(size_t, const MapInput& in, const ChangeMap& changed, const MapShape&, ChangeMap& out) const override {
    reach_window(changed, geometry_.window(in.height, in.width), out);
    return true;
  }

  void prepare(Context& context, std::span<const MapInput> in, const MapShape& shape, SiteState& state,
               const Update& update) override {
    state.early_sites = 0;
    if (!adds_) return share_columns(context, in[0], shape, state, update);
    const int64_t anew = residual_.prepare(context, in[0], shape, state, update);
    if (!Residual::keeps(state)) return share_columns(context, in[0], shape, state, update);
    stats_.macs_done -= static_cast<int64_t>(macs_per_site(in, shape) * static_cast<double>(update.active - anew));
  }

  void finished(SiteState& state, bool) override {
    if (!adds_) return;
    const int64_t added = residual_.finished(state);
    stats_.macs_done += added;
    stats_.macs_added += added;
  }

  void rows(std::span<const MapInput> inputs, const MapShape& shape, const SiteState& state, const Block& block,
            Scratch& scratch, float* out) const override {
    const MapInput& in = inputs[0];
    if (depthwise_) {
      const Window window = geometry_.window(in.height, in.width);
      return deep_.rows(kernels_, in, window, block, scratch.ahead(), scratch, out);
    }
    if (!adds_ || !Residual::keeps(state)) return sums(in, shape, block, scratch.ahead(), scratch, out);
    residual_.rows(in, shape, state, block, scratch, out,
                   [&](const Block& part, float* to) { sums(in, shape, part, nullptr, scratch, to); });
  }

  bool fetches(const SiteState& state) const override {
    return depthwise_ || (columns_.size() == 1 && !(adds_ && Residual::keeps(state)));
  }

  double macs_per_site(std::span<const MapInput>, const MapShape&) const override {
    return static_cast<double>(geometry_.taps()) * (in_ / group_) * out_;
  }

  double nanoseconds_per_site(std::span<const MapInput> in, const MapShape& shape) const override {
    return macs_per_site(in, shape) / (depthwise_ ? 10.0 : 40.0) + SiteNode::nanoseconds_per_site(in, shape);
  }

 private:
  // Fewer make pieces that are too short for the residual kernel.
  static constexpr int32_t kLeastChannels = 8;
  // Its lists are one for each stretch of taps.
  static constexpr int32_t kWidest = 16;

  // Of a block, whose input is asked for behind the one before: about a tile of the kernel.
  static constexpr int32_t kFirstSites = 12;

  // With more sites, weights are read often enough for what it takes to bring them to each thread.
  static constexpr int64_t kMostSites = 96;

  void pack(const Weights& weights, int32_t first, int32_t n) {
    Columns& c = columns_.emplace_back(Columns{first, n, {}});
    c.packed.resize(kernels_.gemm_packed_floats(k_, n));
    kernels_.gemm_pack(weights.matrix(first, n).data(), k_, n, weights.b.as<float>() + first, c.packed.data());
  }

  // The sums of a block's sites from the held input. ahead: null, or rows to fetch meanwhile.
  void sums(const MapInput& in, const MapShape& shape, const Block& block, const float* const* ahead, Scratch& scratch,
            float* out) const {
    GemmArgs args{};
    args.out_stride = shape.channels;
    args.ahead = columns_.size() == 1 ? ahead : nullptr;
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (i == 0 || group_ > 1) point(in, block, static_cast<int32_t>(i), scratch, args);
      PhaseClock::of_thread().lap(Phase::kPointers);
      args.fetches = i == 0 || group_ > 1;
      multiply(columns_[i], args, out);
      PhaseClock::of_thread().lap(Phase::kGemm);
    }
    if (block.next != nullptr) fetch_windows(in, geometry_.window(in.height, in.width), *block.next, kFirstSites);
  }

  void multiply(const Columns& columns, GemmArgs args, float* out) const {
    args.packed = columns.packed.data();
    args.n = columns.n;
    args.out = out + columns.first;
    kernels_.gemm(args);
  }

  // Few sites of many weights: here each thread takes some columns, so that it reads only the weights of these.
  void share_columns(Context& context, const MapInput& in, const MapShape& shape, SiteState& state,
                     const Update& update) const {
    const auto parts = static_cast<int64_t>(columns_.size());
    if (depthwise_ || group_ > 1 || parts < 2 || update.fresh || update.active > kMostSites) return;
    const int32_t tasks = share_work(context, state.nanoseconds, parts).tasks;
    if (tasks < 2) return;
    state.early.grow(update.active * out_);
    Scratch& scratch = Scratch::of_thread();
    GemmArgs args{};
    args.out_stride = shape.channels;
    point(in, {update.runs, static_cast<int32_t>(update.active)}, 0, scratch, args);
    parallel(context, tasks, [&](int32_t task) {
      const FlushDenormals flush;
      for (int64_t i = parts * task / tasks; i < parts * (task + 1) / tasks; ++i) {
        multiply(columns_[i], args, state.early.data());
      }
      PhaseClock::of_thread().lap(Phase::kGemm);
    });
    state.early_sites = update.active;
    state.nanoseconds = SiteNode::nanoseconds_per_site({&in, 1}, shape) * static_cast<double>(update.active);
  }

  // The addresses that one group of the block's windows begins at. Neighbouring taps of a row are neighbours in memory
  // when the input is one tensor with all its channels.
  void point(const MapInput& in, const Block& block, int32_t group, Scratch& scratch, GemmArgs& args) const {
    const Window window = geometry_.window(in.height, in.width);
    args.sites = block.sites;
    args.rows_stride = block.sites;
    args.k = k_;
    if (group_ == 1 && in.whole() && window.dilation[1] == 1 && window.kernel[1] > 1) {
      point_bands(in, window, block, scratch, args);
    } else {
      point_parts(in, window, block, group, scratch, args);
    }
  }

  // One piece per kernel row: the kernel's width times all channels, contiguous. Windows that hang over the left or
  // right edge are copied with zeros around them.
  void point_bands(const MapInput& in, const Window& w, const Block& block, Scratch& scratch, GemmArgs& args) const {
    const int32_t length = w.kernel[1] * in_;
    const float* outside = zeros(length);
    const float* base = in.row(in.pieces[0], 0);
    scratch.pointers.resize(static_cast<size_t>(w.kernel[0]) * block.sites);
    lens(scratch, w.kernel[0], length);
    // Reserve first: pointers into borders must stay valid.
    const Inside inside(w, in.width);
    int64_t borders = 0;
    for (const Run& r : block.runs) borders += r.n - inside.of(r).n;
    scratch.borders.grow(borders * w.kernel[0] * length);
    float* copy = scratch.borders.data();
    const float** p = scratch.pointers.data();
    for (const Run& r : block.runs) {
      const Run whole = inside.of(r);
      for (int32_t ky = 0; ky < w.kernel[0]; ++ky) {
        const float** to = p + static_cast<int64_t>(ky) * block.sites;
        const int32_t iy = r.y * w.stride[0] - w.pad[0] + ky * w.dilation[0];
        if (iy < 0 || iy >= in.height) {
          std::fill(to, to + r.n, outside);
          continue;
        }
        const float* row = base + static_cast<int64_t>(iy) * in.width * in_;
        const auto copied = [&](int32_t x) {
          copy_window(row, x * w.stride[1] - w.pad[1], w.kernel[1], in.width, copy);
          return std::exchange(copy, copy + length);
        };
        for (int32_t x = r.x; x < whole.x; ++x) *to++ = copied(x);
        const float* window = row + static_cast<int64_t>(whole.x * w.stride[1] - w.pad[1]) * in_;
        for (int32_t m = 0; m < whole.n; ++m, window += w.stride[1] * in_) *to++ = window;
        for (int32_t x = whole.x + whole.n; x < r.x + r.n; ++x) *to++ = copied(x);
      }
      p += r.n;
    }
    finish(scratch, args);
  }

  // A window's row with zeros where it hangs over an edge; ix: its first column.
  void copy_window(const float* row, int32_t ix, int32_t kernel, int32_t width, float* to) const {
    const int32_t lo = std::max(ix, 0), hi = std::min(ix + kernel, width);
    std::fill(to, to + static_cast<int64_t>(kernel) * in_, 0.0f);
    if (lo >= hi) return;
    std::memcpy(to + static_cast<int64_t>(lo - ix) * in_, row + static_cast<int64_t>(lo) * in_,
                static_cast<size_t>(hi - lo) * in_ * sizeof(float));
  }

  // One piece per tap and resident: the channels of group g.
  void point_parts(const MapInput& in, const Window& w, const Block& block, int32_t g, Scratch& scratch,
                   GemmArgs& args) const {
    const int32_t per_group = in_ / group_;
    if (of_own_site(w)) {
      point_sites(in, g * per_group, per_group, block, scratch);
    } else {
      point_channels(in, g * per_group, per_group, w, block, scratch);
    }
    finish(scratch, args);
  }

  // Whether an output depends on the input's row at its own place alone.
  bool of_own_site(const Window& w) const {
    const auto same = [&](int axis) {
      return w.stride[axis] == 1 && w.pad[axis] == 0 && (geometry_.pad_end(axis) == 0 || !geometry_.explicit_pads());
    };
    return geometry_.taps() == 1 && same(0) && same(1);
  }

  static void point_sites(const MapInput& in, int32_t first, int32_t count, const Block& block, Scratch& scratch) {
    const std::vector<Channels> parts = channels_of(in, first, count);
    scratch.pointers.resize(parts.size() * block.sites);
    scratch.lens.clear();
    for (size_t i = 0; i < parts.size(); ++i) {
      const float** to = scratch.pointers.data() + i * block.sites;
      point_rows(parts[i].first, parts[i].pitch, in.width, block, to);
      scratch.lens.push_back(parts[i].count);
    }
  }

  // Columns of the output whose windows hang over neither the left nor the right edge.
  struct Inside {
    int32_t first, end;
    Inside(const Window& w, int32_t width) : first((w.pad[1] + w.stride[1] - 1) / w.stride[1]) {
      const int32_t room = width - w.kernel[1] + w.pad[1];
      end = room < 0 ? 0 : room / w.stride[1] + 1;
    }
    Run of(const Run& r) const {
      const int32_t x = std::clamp(first, r.x, r.x + r.n);
      return {r.y, x, std::clamp(end, x, r.x + r.n) - x};
    }
  };
  static void lens(Scratch& scratch, int32_t pieces, int32_t length) { scratch.lens.assign(pieces, length); }
  static void finish(Scratch& scratch, GemmArgs& args) {
    args.rows = scratch.pointers.data();
    args.lens = scratch.lens.data();
    args.pieces = static_cast<int32_t>(scratch.lens.size());
  }

  const Geometry geometry_;
  int32_t group_, in_, out_;
  int32_t k_ = 0;
  bool depthwise_;
  bool adds_ = false;             // whether the residual kernel may be used
  std::vector<Columns> columns_;  // one for each group, or parts of a single one; none where depthwise_
  Depthwise deep_;
  Residual residual_;
};

}  // namespace

std::unique_ptr<Node> make_conv(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Conv>(attributes, kernels, false);
}

std::unique_ptr<Node> make_conv_add(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Conv>(attributes, kernels, true);
}

}  // namespace rrm
