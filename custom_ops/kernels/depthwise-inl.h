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

// One vector of channels, from j on, of N neighbours, from m on. KW: the kernel's width, or 0 for any.
template <int N, int KW, class Lanes>
RRM_ALWAYS_INLINE void RunVec(const DepthwiseRunArgs& g, int m, int j, Lanes lanes) {
  Vec acc[N];
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) acc[i] = lanes.Get(g.bias + j);
  const int width = KW > 0 ? KW : g.kernel_w;
  const float* w = g.w + j;
  for (int ky = 0; ky < g.kernel_h; ++ky) {
    const float* x = g.bands[ky] + m * g.step + j;
    if (g.bands[ky] == nullptr) {
      w += static_cast<int64_t>(width) * g.c;
      continue;
    }
#pragma GCC unroll 7
    for (int kx = 0; kx < width; ++kx, x += g.tap, w += g.c) {
      const Vec tap = lanes.Get(w);
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) acc[i] = Fma(lanes.Get(x + i * g.step), tap, acc[i]);
    }
  }
  float* out = g.out + m * g.out_stride + j;
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) lanes.Put(out + i * g.out_stride, acc[i]);
}

// All channels of N neighbours: sites outside, channels inside, so that memory is read as it lies.
template <int N, int KW>
void RunSites(const DepthwiseRunArgs& g, int m) {
  if (g.ahead != nullptr) {
    for (int i = 0; i < N; ++i) {
      for (int j = 0; j < g.c; j += 16) Prefetch(g.ahead[m + i] + j);
    }
  }
  int j = 0;
  for (; j + kLanes <= g.c; j += kLanes) RunVec<N, KW>(g, m, j, WholeVec{});
  if (j < g.c) RunVec<N, KW>(g, m, j, FirstLanes{g.c - j});
}

template <int KW>
void RunOfWidth(const DepthwiseRunArgs& g) {
  int m = 0;
  for (; m + 4 <= g.sites; m += 4) RunSites<4, KW>(g, m);
  if (g.sites - m == 3) RunSites<3, KW>(g, m);
  if (g.sites - m == 2) RunSites<2, KW>(g, m);
  if (g.sites - m == 1) RunSites<1, KW>(g, m);
}

void DepthwiseRun(const DepthwiseRunArgs& g) {
  if (g.kernel_w == 3) return RunOfWidth<3>(g);
  if (g.kernel_w == 5) return RunOfWidth<5>(g);
  return RunOfWidth<0>(g);
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
