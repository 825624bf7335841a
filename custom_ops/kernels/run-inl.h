// The folds of window-inl.h and depthwise-inl.h where the sites are neighbours: rows are found by strides, not by a
// pointer for each tap. window_max_run here, depthwise_run in depthwise-inl.h.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

// One vector of channels, from j on, of N neighbours, from m on. KW: the kernel's width, or 0 for any.
template <int N, int KW, class Fold, class Lanes>
RRM_ALWAYS_INLINE void RunVec(const Fold& fold, int m, int j, Lanes lanes) {
  const RunArgs& g = fold.args;
  Vec acc[N];
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) acc[i] = fold.Start(j, lanes);
  const int width = KW > 0 ? KW : g.kernel_w;
  for (int ky = 0; ky < g.kernel_h; ++ky) {
    if (g.bands[ky] == nullptr) continue;
    const float* x = g.bands[ky] + m * g.step + j;
#pragma GCC unroll 7
    for (int kx = 0; kx < width; ++kx, x += g.tap) {
      const auto tap = fold.Tap(ky * width + kx, m, j, lanes);
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) acc[i] = fold.Next(acc[i], lanes.Get(x + i * g.step), tap, i);
    }
  }
  float* out = g.out + m * g.out_stride + j;
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) lanes.Put(out + i * g.out_stride, acc[i]);
}

// All channels of N neighbours: sites outside, channels inside, so that memory is read as it lies.
template <int N, int KW, class Fold>
void RunSites(const Fold& fold, int m) {
  const RunArgs& g = fold.args;
  if (g.ahead != nullptr) {
    for (int i = 0; i < N; ++i) {
      for (int j = 0; j < g.c; j += 16) Prefetch(g.ahead[m + i] + j);
    }
  }
  int j = 0;
  for (; j + kLanes <= g.c; j += kLanes) RunVec<N, KW>(fold, m, j, WholeVec{});
  if (j < g.c) RunVec<N, KW>(fold, m, j, FirstLanes{g.c - j});
}

template <int KW, class Fold>
void RunOfWidth(const Fold& fold) {
  const int sites = fold.args.sites;
  int m = 0;
  for (; m + 4 <= sites; m += 4) RunSites<4, KW>(fold, m);
  if (sites - m == 3) RunSites<3, KW>(fold, m);
  if (sites - m == 2) RunSites<2, KW>(fold, m);
  if (sites - m == 1) RunSites<1, KW>(fold, m);
}

template <class Fold>
void FoldRun(const Fold& fold) {
  if (fold.args.kernel_w == 2) return RunOfWidth<2>(fold);
  if (fold.args.kernel_w == 3) return RunOfWidth<3>(fold);
  if (fold.args.kernel_w == 5) return RunOfWidth<5>(fold);
  return RunOfWidth<0>(fold);
}

void WindowMaxRun(const RunArgs& g) { FoldRun(MaxFold<RunArgs>{g}); }

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
