// depthwise: out[m][j] = bias[j] + sum over taps of row[t][m][j] * w[t][j]; by row pointers (the fold over the taps is
// in window-inl.h), and for neighbours by strides alone.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

struct DepthwiseFold {
  const DepthwiseArgs& args;
  template <class Lanes>
  Vec Start(int j, Lanes lanes) const {
    return lanes.Get(args.bias + j);
  }
  template <class Lanes>
  Vec Tap(int t, int, int j, Lanes lanes) const {
    return lanes.Get(args.w + static_cast<int64_t>(t) * args.c + j);
  }
  Vec Next(Vec acc, Vec x, Vec w, int) const { return Fma(x, w, acc); }
};

void Depthwise(const DepthwiseArgs& g) { FoldAll(DepthwiseFold{g}); }

struct DepthwiseRunFold {
  const RunArgs& args;
  template <class Lanes>
  Vec Start(int j, Lanes lanes) const {
    return lanes.Get(args.bias + j);
  }
  template <class Lanes>
  Vec Tap(int t, int j, Lanes lanes) const {
    return lanes.Get(args.w + static_cast<int64_t>(t) * args.c + j);
  }
  Vec Next(Vec acc, Vec x, Vec w) const { return Fma(x, w, acc); }
};

void DepthwiseRun(const RunArgs& g) { FoldRun(DepthwiseRunFold{g}); }

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
