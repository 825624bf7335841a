// Transposed convolution by phases: the outputs that share (y mod stride, x mod stride) see the same taps, so each
// phase is a small convolution with weights of its own. Where neighbours of a row see the same input as well, as they
// do when the kernel is a multiple of the stride, they are made together.
#include <algorithm>

#include "ops/factories.h"
#include "ops/geometry.h"

namespace rrm {
namespace {

// Which taps of one axis reach the outputs whose padded coordinate is `phase` modulo the stride, in the order of the
// input coordinates that they read: for the output q * stride + phase these are q - before, q - before + step, ...
struct AxisPhase {
  AxisPhase(int32_t phase, int32_t kernel, int32_t stride, int32_t dilation) {
    for (int32_t k = kernel - 1; k >= 0; --k) {
      if (k * dilation % stride == phase) taps.push_back(k);
    }
    if (taps.empty()) return;
    before = (taps[0] * dilation - phase) / stride;
    if (taps.size() > 1) step = (taps[0] - taps[1]) * dilation / stride;
  }
  bool reads_like(const AxisPhase& o) const {
    return taps.size() == o.taps.size() && before == o.before && step == o.step;
  }
  std::vector<int32_t> taps;
  int32_t before = 0;
  int32_t step = 1;
};

// Outputs that read the same input rows: a convolution of stride 1 over cells, each of which makes `columns`
// neighbouring outputs from column `px` of the stride on, in rows that are `py` modulo the stride.
struct Phase {
  int32_t py, px, columns;
  Window window;
  int32_t k;  // weights of an output
  int64_t packed_floats = 0;
  Floats packed;  // one block per group
};

class ConvTranspose final : public SiteNode {
 public:
  ConvTranspose(const Attributes& attributes, const Kernels& kernels)
      : SiteNode(attributes, kernels, 1), geometry_(attributes) {
    read_gate(attributes);
    read_activation(attributes);
    const std::vector<int64_t> extra = attributes.integers("output_padding");
    const Dense w = attributes.constant(1), b = attributes.constant(2);
    group_ = static_cast<int32_t>(attributes.integer("group"));
    const bool fits = w.dtype == Dtype::kFloat && b.dtype == Dtype::kFloat && w.shape.size() == 4 && group_ > 0 &&
                      extra.size() == 2 && w.shape[0] % group_ == 0 && w.shape[2] * w.shape[3] == geometry_.taps() &&
                      b.count() == w.shape[1] * group_;
    if (!geometry_.explicit_pads()) fail("auto_pad is not supported");
    if (!fits || extra[0] < 0 || extra[1] < 0 || std::max(extra[0], extra[1]) > 1 << 20)
      fail("weights, bias and attributes do not fit together");
    in_ = static_cast<int32_t>(w.shape[0]);
    group_out_ = static_cast<int32_t>(w.shape[1]);
    for (int a = 0; a < 2; ++a) output_padding_[a] = static_cast<int32_t>(extra[a]);
    pack(w, b);
  }

  int64_t weight_bytes() override {
    int64_t n = 0;
    for (const Phase& phase : phases_) n += phase.packed.bytes();
    return n;
  }

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override {
    if (in[0].channels != in_)
      fail("expects " + std::to_string(in_) + " channels, got " + std::to_string(in[0].channels));
    const int32_t size[2] = {in[0].height, in[0].width};
    int32_t out[2];
    const Window& w = window_;
    for (int a = 0; a < 2; ++a) {
      out[a] = (size[a] - 1) * w.stride[a] + (w.kernel[a] - 1) * w.dilation[a] + 1 - w.pad[a] - geometry_.pad_end(a) +
               output_padding_[a];
      if (out[a] < 1) fail("padding leaves nothing of the output");
    }
    return {out[0], out[1], group_out_ * group_};
  }

  bool reach(size_t, const MapInput&, const ChangeMap& changed, const MapShape&, ChangeMap& out) const override {
    reach_transposed(changed, window_, out);
    return true;
  }

  void rows(std::span<const MapInput> inputs, const MapShape& shape, const SiteState&, const Block& block,
            Scratch& scratch, float* out) const override {
    for (const Phase& phase : phases_) {
      scratch.kept.clear();
      int32_t cells = 0;
      for (const Run& r : block.runs) {
        const Run c = cells_of(phase, r);
        if (c.n == 0) continue;
        scratch.kept.push_back(c);
        cells += c.n;
      }
      if (cells == 0) continue;
      multiply(inputs[0], phase, {scratch.kept, cells}, scratch);
      deal(phase, block, shape.channels, scratch.temp.data(), out);
      PhaseClock::of_thread().lap(rrm::Phase::kKernel);
    }
  }

  double macs_per_site(std::span<const MapInput> in, const MapShape& shape) const override {
    const double dense = static_cast<double>(in[0].sites()) * geometry_.taps() * in_ * group_out_;
    return dense / (static_cast<double>(shape.height) * shape.width);
  }

  double nanoseconds_per_site(std::span<const MapInput> in, const MapShape& shape) const override {
    return macs_per_site(in, shape) / 30.0 + SiteNode::nanoseconds_per_site(in, shape);
  }

 private:
  void pack(const Dense& w, const Dense& b) {
    const Window& g = window_;
    std::vector<AxisPhase> axes[2];
    for (int a = 0; a < 2; ++a) {
      for (int32_t p = 0; p < g.stride[a]; ++p) axes[a].emplace_back(p, g.kernel[a], g.stride[a], g.dilation[a]);
    }
    const std::vector<AxisPhase>& columns = axes[1];
    const bool alike = std::all_of(columns.begin(), columns.end(),
                                   [&](const AxisPhase& phase) { return phase.reads_like(columns[0]); });
    // Channels of several groups lie between each other, so that cells are single outputs.
    const int32_t width = alike && group_ == 1 ? g.stride[1] : 1;
    for (int32_t py = 0; py < g.stride[0]; ++py) {
      for (int32_t px = 0; px < g.stride[1]; px += width) {
        pack(w, b, phases_.emplace_back(Phase{py, px, width, {}, 0, 0, {}}), axes[0][py], columns);
      }
    }
  }

  void pack(const Dense& w, const Dense& b, Phase& phase, const AxisPhase& rows,
            const std::vector<AxisPhase>& columns) const {
    const AxisPhase* const axes[2] = {&rows, &columns[phase.px]};
    for (int a = 0; a < 2; ++a) {
      phase.window.kernel[a] = static_cast<int32_t>(axes[a]->taps.size());
      phase.window.dilation[a] = axes[a]->step;
      phase.window.pad[a] = axes[a]->before;
    }
    const int32_t per_group = in_ / group_, n = phase.columns * group_out_;
    phase.k = phase.window.kernel[0] * phase.window.kernel[1] * per_group;
    phase.packed_floats = kernels_.gemm_packed_floats(phase.k, n);
    phase.packed.resize(phase.packed_floats * group_);
    std::vector<float> matrix, bias;
    for (int32_t g = 0; g < group_; ++g) {
      matrix.clear();
      for (int32_t ky : rows.taps) {
        for (size_t t = 0; t < axes[1]->taps.size(); ++t) {
          for (int32_t c = g * per_group; c < (g + 1) * per_group; ++c) {
            for (int32_t i = 0; i < phase.columns; ++i) {
              const float* tap = w.as<float>() + ky * geometry_.kernel()[1] + columns[phase.px + i].taps[t];
              for (int32_t j = 0; j < group_out_; ++j) {
                matrix.push_back(tap[(static_cast<int64_t>(c) * group_out_ + j) * geometry_.taps()]);
              }
            }
          }
        }
      }
      bias.clear();
      for (int32_t i = 0; i < n; ++i) bias.push_back(b.as<float>()[g * group_out_ + i % group_out_]);
      kernels_.gemm_pack(matrix.data(), phase.k, n, bias.data(), phase.packed.data() + g * phase.packed_floats);
    }
  }

  // The cells that hold a phase's outputs among those of a run.
  Run cells_of(const Phase& phase, const Run& r) const {
    const int32_t y = r.y + window_.pad[0], x = r.x + window_.pad[1], s = window_.stride[1];
    const int32_t row = quotient(y, window_.stride[0]);
    if (row * window_.stride[0] + phase.py != y) return {};
    const int32_t first = quotient(x - phase.px - phase.columns + s, s), end = quotient(x + r.n - 1 - phase.px + s, s);
    return {row, first, end - first};
  }

  // Of numbers >= 0, mostly by 1 or 2: a division takes longer than a short run's other work.
  static int32_t quotient(int32_t a, int32_t b) { return b <= 2 ? a >> (b - 1) : a / b; }

  // The outputs of the cells, one behind the other, in scratch.temp.
  void multiply(const MapInput& in, const Phase& phase, const Block& cells, Scratch& scratch) const {
    const int32_t per_group = in_ / group_;
    GemmArgs args{};
    args.out_stride = static_cast<int64_t>(phase.columns) * group_out_ * group_;
    scratch.temp.grow(cells.sites * args.out_stride);
    args.rows_stride = args.sites = cells.sites;
    args.k = phase.k;
    args.n = phase.columns * group_out_;
    args.fetches = true;
    for (int32_t g = 0; g < group_; ++g) {
      point_channels(in, g * per_group, per_group, phase.window, cells, scratch);
      args.rows = scratch.pointers.data();
      args.lens = scratch.lens.data();
      args.pieces = static_cast<int32_t>(scratch.lens.size());
      args.packed = phase.packed.data() + g * phase.packed_floats;
      args.out = scratch.temp.data() + g * group_out_;
      PhaseClock::of_thread().lap(rrm::Phase::kPointers);
      kernels_.gemm(args);
      PhaseClock::of_thread().lap(rrm::Phase::kGemm);
    }
  }

  // Copies what cells made to the block's rows; those at a run's ends may make more than is wanted.
  void deal(const Phase& phase, const Block& block, int32_t channels, const float* made, float* out) const {
    const int32_t s = window_.stride[1];
    const int64_t cell = static_cast<int64_t>(phase.columns) * channels;
    for (const Run& r : block.runs) {
      const Run cells = cells_of(phase, r);
      const int32_t first = cells.x * s + phase.px - window_.pad[1] - r.x;  // output of the first cell, in the run
      if (cells.n > 0 && phase.columns == s) {
        std::copy_n(made - static_cast<int64_t>(first) * channels, static_cast<int64_t>(r.n) * channels, out);
      } else {
        for (int32_t i = 0; i < cells.n; ++i) {
          std::copy_n(made + i * cell, channels, out + static_cast<int64_t>(first + i * s) * channels);
        }
      }
      made += cells.n * cell;
      out += static_cast<int64_t>(r.n) * channels;
    }
  }

  const Geometry geometry_;
  const Window window_ = geometry_.window(0, 0);
  int32_t group_, in_, group_out_;
  int32_t output_padding_[2];
  std::vector<Phase> phases_;
};

}  // namespace

std::unique_ptr<Node> make_conv_transpose(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<ConvTranspose>(attributes, kernels);
}

}  // namespace rrm
