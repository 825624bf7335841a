#include "ops/depthwise.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace rrm {
namespace {

// Kernel rows up to which neighbours go through the kernel that needs no pointer for each tap.
constexpr int32_t kMostBands = 15;

}  // namespace

Depthwise::Depthwise(const Dense& w, const Dense& b)
    : taps_(static_cast<int32_t>(w.shape[2] * w.shape[3])), w_(w.as<float>(), w.as<float>() + w.count()) {
  bias_.assign(b.as<float>(), b.as<float>() + b.count());
  const int32_t c = channels();
  for (int32_t t = 0; t < taps_; ++t) {
    for (int32_t i = 0; i < c; ++i) w_[static_cast<size_t>(t) * c + i] = w.as<float>()[i * taps_ + t];
  }
}

void Depthwise::rows(const Kernels& kernels, const MapInput& in, const Window& w, const Block& block,
                     const float* const* ahead, Scratch& scratch, float* out) const {
  if (!in.whole() || w.kernel[0] > kMostBands) return sites(kernels, in, w, block, scratch, out);
  int32_t at = 0;
  const auto part = [&](const Run& r, bool inside) {
    if (r.n <= 0) return;
    float* to = out + static_cast<int64_t>(at) * channels();
    if (inside) {
      run(kernels, in, w, r, ahead == nullptr ? nullptr : ahead + at, to);
    } else {
      sites(kernels, in, w, {std::span(&r, 1), r.n}, scratch, to);
    }
    at += r.n;
  };
  for (const Run& r : block.runs) {
    // Windows of the sites [first, end) lie between the left and the right edge.
    const int32_t reach = in.width - 1 - (w.kernel[1] - 1) * w.dilation[1] + w.pad[1];
    const int32_t first = std::clamp((w.pad[1] + w.stride[1] - 1) / w.stride[1], r.x, r.x + r.n);
    const int32_t end = std::clamp(reach < 0 ? 0 : reach / w.stride[1] + 1, first, r.x + r.n);
    part({r.y, r.x, first - r.x}, false);
    part({r.y, first, end - first}, true);
    part({r.y, end, r.x + r.n - end}, false);
  }
}

void Depthwise::run(const Kernels& kernels, const MapInput& in, const Window& w, const Run& r,
                    const float* const* ahead, float* out) const {
  std::array<const float*, kMostBands> bands;
  const int64_t pitch = in.channels;
  for (int32_t ky = 0; ky < w.kernel[0]; ++ky) {
    const int32_t iy = r.y * w.stride[0] - w.pad[0] + ky * w.dilation[0];
    const int64_t site = static_cast<int64_t>(iy) * in.width + r.x * w.stride[1] - w.pad[1];
    bands[ky] = iy < 0 || iy >= in.height ? nullptr : in.row(in.pieces[0], site);
  }
  DepthwiseRunArgs args{};
  args.bands = bands.data();
  args.kernel_h = w.kernel[0];
  args.kernel_w = w.kernel[1];
  args.step = w.stride[1] * pitch;
  args.tap = w.dilation[1] * pitch;
  args.sites = r.n;
  args.w = w_.data();
  args.bias = bias_.data();
  args.c = channels();
  args.out = out;
  args.out_stride = channels();
  args.ahead = ahead;
  kernels.depthwise_run(args);
}

void Depthwise::sites(const Kernels& kernels, const MapInput& in, const Window& w, const Block& block, Scratch& scratch,
                      float* out) const {
  scratch.pointers.resize(static_cast<size_t>(taps_) * block.sites);
  int32_t at = 0;
  for (const Piece& piece : in.pieces) {
    point_taps(in, piece, w, block, nullptr, scratch.pointers.data());
    DepthwiseArgs args{};
    args.rows = scratch.pointers.data();
    args.rows_stride = block.sites;
    args.taps = taps_;
    args.sites = block.sites;
    args.bias = bias_.data() + at;
    args.c = piece.count;
    args.out = out + at;
    args.out_stride = channels();
    args.w = w_.data() + at;
    if (in.pieces.size() > 1) {  // the kernel wants the taps of its channels one behind the other
      scratch.weights.resize(static_cast<size_t>(taps_) * args.c);
      for (int32_t t = 0; t < taps_; ++t) {
        std::memcpy(scratch.weights.data() + t * args.c, w_.data() + t * channels() + at, sizeof(float) * args.c);
      }
      args.w = scratch.weights.data();
    }
    kernels.depthwise(args);
    at += piece.count;
  }
}

}  // namespace rrm
