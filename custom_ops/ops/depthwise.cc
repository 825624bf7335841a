#include "ops/depthwise.h"

#include <algorithm>
#include <array>

#include "ops/ahead.h"

namespace rrm {
Depthwise::Depthwise(const Dense& w, const Dense& b)
    : taps_(static_cast<int32_t>(w.shape[2] * w.shape[3])), bias_(b.as<float>(), b.as<float>() + b.count()) {
  w_.resize(w.count());
  float* to = w_.data();
  for (int32_t t = 0; t < taps_; ++t) {
    for (int32_t i = 0; i < channels(); ++i) *to++ = w.as<float>()[i * taps_ + t];
  }
}

void Depthwise::rows(const Kernels& kernels, const MapInput& in, const Window& w, const Block& block,
                     const float* const* ahead, Scratch& scratch, float* out) const {
  if (w.kernel[0] > kMostBands) return sites(kernels, in, w, block, scratch, out);
  Ahead inputs(in, block, w);
  for (const Run& r : block.runs) {
    inputs.pass();
    run(kernels, in, w, r, ahead, out);
    if (ahead != nullptr) ahead += r.n;
    out += static_cast<int64_t>(r.n) * channels();
  }
}

void Depthwise::run(const Kernels& kernels, const MapInput& in, const Window& w, const Run& r,
                    const float* const* ahead, float* out) const {
  std::array<const float*, kMostBands> bands;
  const bool whole = in.pieces.size() == 1;
  if (!whole && ahead != nullptr) fetch_rows(ahead, r.n, channels());
  int32_t at = 0;
  for (const Piece& piece : in.pieces) {
    RunArgs args = run_args(in, piece, w, r, bands);
    args.w = w_.data() + at;
    args.w_stride = channels();
    args.bias = bias_.data() + at;
    args.out = out + at;
    args.ahead = whole ? ahead : nullptr;
    kernels.depthwise_run(args);
    at += piece.count;
  }
}

void Depthwise::sites(const Kernels& kernels, const MapInput& in, const Window& w, const Block& block, Scratch& scratch,
                      float* out) const {
  scratch.pointers.resize(static_cast<size_t>(taps_) * block.sites);
  int32_t at = 0;
  for (const Piece& piece : in.pieces) {
    point_taps(in, {in, piece}, w, block, nullptr, scratch.pointers.data(), block.sites);
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
    args.w_stride = channels();
    kernels.depthwise(args);
    at += piece.count;
  }
}

}  // namespace rrm
