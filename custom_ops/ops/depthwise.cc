#include "ops/depthwise.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace rrm {
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
  for (const Run& r : block.runs) {
    run(kernels, in, w, r, ahead, out);
    if (ahead != nullptr) ahead += r.n;
    out += static_cast<int64_t>(r.n) * channels();
  }
}

void Depthwise::run(const Kernels& kernels, const MapInput& in, const Window& w, const Run& r,
                    const float* const* ahead, float* out) const {
  std::array<const float*, kMostBands> bands;
  RunArgs args = run_args(in, w, r, bands);
  args.w = w_.data();
  args.bias = bias_.data();
  args.out = out;
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
