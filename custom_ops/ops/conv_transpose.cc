// Transposed convolution by phases: the outputs that share (y mod stride, x mod stride) see the same taps, so each
// phase is a small convolution with weights of its own.
#include <algorithm>

#include "ops/factories.h"
#include "ops/geometry.h"

namespace rrm {
namespace {

struct Tap {
  int32_t ky, kx;
};

// The taps that reach outputs of one phase, and their packed weights, one block per group.
struct Phase {
  std::vector<Tap> taps;
  int64_t packed_floats = 0;
  Floats packed;
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
    zeros_ = zeros(in_ / group_);
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
    const Window w = geometry_.window(0, 0);
    for (int a = 0; a < 2; ++a) {
      out[a] = (size[a] - 1) * w.stride[a] + (w.kernel[a] - 1) * w.dilation[a] + 1 - w.pad[a] - geometry_.pad_end(a) +
               output_padding_[a];
      if (out[a] < 1) fail("padding leaves nothing of the output");
    }
    return {out[0], out[1], group_out_ * group_};
  }

  bool reach(size_t, const MapInput&, const ChangeMap& changed, const MapShape&, ChangeMap& out) const override {
    reach_transposed(changed, geometry_.window(0, 0), out);
    return true;
  }

  void rows(std::span<const MapInput> inputs, const MapShape& shape, const SiteState&, const Block& block,
            Scratch& scratch, float* out) const override {
    const Window w = geometry_.window(0, 0);
    for (const Run& r : block.runs) {
      const int32_t py = (r.y + w.pad[0]) % w.stride[0];
      for (int32_t first = 0; first < std::min(w.stride[1], r.n); ++first) {
        const int32_t px = (r.x + first + w.pad[1]) % w.stride[1];
        phase_rows(inputs[0], shape, w, phases_[py * w.stride[1] + px], r, first, scratch, out);
      }
      out += static_cast<int64_t>(r.n) * shape.channels;
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
    const Window g = geometry_.window(0, 0);
    const int32_t per_group = in_ / group_;
    for (int32_t p = 0; p < g.stride[0] * g.stride[1]; ++p) {
      Phase& phase = phases_.emplace_back();
      for (int32_t ky = 0; ky < g.kernel[0]; ++ky) {
        for (int32_t kx = 0; kx < g.kernel[1]; ++kx) {
          if (ky * g.dilation[0] % g.stride[0] == p / g.stride[1] &&
              kx * g.dilation[1] % g.stride[1] == p % g.stride[1]) {
            phase.taps.push_back({ky, kx});
          }
        }
      }
      const int32_t k = static_cast<int32_t>(phase.taps.size()) * per_group;
      phase.packed_floats = kernels_.gemm_packed_floats(k, group_out_);
      phase.packed.resize(phase.packed_floats * group_);
      std::vector<float> m(static_cast<size_t>(k) * group_out_);
      for (int32_t i = 0; i < group_; ++i) {
        size_t at = 0;
        for (const Tap& t : phase.taps) {
          for (int32_t c = 0; c < per_group; ++c) {
            for (int32_t j = 0; j < group_out_; ++j) {
              const size_t row = static_cast<size_t>(i * per_group + c) * group_out_ + j;
              m[at++] = w.as<float>()[row * geometry_.taps() + t.ky * g.kernel[1] + t.kx];
            }
          }
        }
        kernels_.gemm_pack(m.data(), k, group_out_, b.as<float>() + i * group_out_,
                           phase.packed.data() + i * phase.packed_floats);
      }
    }
  }

  // Sites first, first + stride, ... of a run.
  void phase_rows(const MapInput& in, const MapShape& shape, const Window& w, const Phase& phase, const Run& r,
                  int32_t first, Scratch& scratch, float* out) const {
    const int32_t step = w.stride[1];
    const int32_t sites = (r.n - first + step - 1) / step;
    const int32_t per_group = in_ / group_;
    for (int32_t g = 0; g < group_; ++g) {
      scratch.pointers.clear();
      scratch.lens.clear();
      for (const Tap& t : phase.taps) {
        const int32_t ny = r.y + w.pad[0] - t.ky * w.dilation[0];
        const int32_t iy = ny / w.stride[0];
        const bool row_inside = ny >= 0 && iy < in.height;
        int32_t at = 0;
        for (const Piece& p : in.pieces) {
          const int32_t lo = std::max(g * per_group, at), hi = std::min((g + 1) * per_group, at + p.count);
          if (lo < hi) {
            scratch.lens.push_back(hi - lo);
            for (int32_t m = 0; m < sites; ++m) {
              const int32_t nx = r.x + first + m * step + w.pad[1] - t.kx * w.dilation[1];
              const bool inside = row_inside && nx >= 0 && nx / step < in.width;
              const int64_t site = static_cast<int64_t>(iy) * in.width + nx / step;
              scratch.pointers.push_back(inside ? in.row(p, site) + (lo - at) : zeros_);
            }
          }
          at += p.count;
        }
      }
      GemmArgs args{};
      args.rows = scratch.pointers.data();
      args.rows_stride = sites;
      args.lens = scratch.lens.data();
      args.pieces = static_cast<int32_t>(scratch.lens.size());
      args.sites = sites;
      args.packed = phase.packed.data() + g * phase.packed_floats;
      args.k = static_cast<int32_t>(phase.taps.size()) * per_group;
      args.n = group_out_;
      args.out = out + static_cast<int64_t>(first) * shape.channels + g * group_out_;
      args.out_stride = static_cast<int64_t>(step) * shape.channels;
      PhaseClock::of_thread().lap(rrm::Phase::kPointers);
      kernels_.gemm(args);
      PhaseClock::of_thread().lap(rrm::Phase::kGemm);
    }
  }

  const Geometry geometry_;
  int32_t group_, in_, group_out_;
  int32_t output_padding_[2];
  std::vector<Phase> phases_;
  const float* zeros_ = nullptr;
};

}  // namespace

std::unique_ptr<Node> make_conv_transpose(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<ConvTranspose>(attributes, kernels);
}

}  // namespace rrm
