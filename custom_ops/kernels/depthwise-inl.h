// depthwise: out[m][j] = bias[j] + sum over taps of row[t][m][j] * w[t][j]; by row pointers (the fold over the taps is
// in window-inl.h), and for neighbours by strides alone.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

template <class Args>
struct DepthwiseFold {
  const Args& args;
  template <class Lanes>
  Vec Start(int j, Lanes lanes) const {
    return lanes.Get(args.bias + j);
  }
  template <class Lanes>
  Vec Tap(int t, int, int j, Lanes lanes) const {
    return lanes.Get(args.w + t * args.w_stride + j);
  }
  Vec Next(Vec acc, Vec x, Vec w, int) const { return Fma(x, w, acc); }
};

void Depthwise(const DepthwiseArgs& g) { FoldAll(DepthwiseFold<DepthwiseArgs>{g}); }

void DepthwiseRun(const RunArgs& g) { FoldRun(DepthwiseFold<RunArgs>{g}); }

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
