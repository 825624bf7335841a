// The folds of window-inl.h and depthwise-inl.h where the sites are neighbours: rows are found by strides, not by a
// pointer for each tap. window_max_run here, depthwise_run in depthwise-inl.h.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

// Whether neighbouring windows share what they load: many of them at a time, which takes registers for their sums and
// for the columns that they read. With 16 registers it is slower than loading a column for each window.
constexpr bool kShares = kRegisters >= 32;
constexpr int kWide = 8;

// Taps [first, end) of a site's windows lie within the bands.
struct TapRange {
  int first, end;
};

inline TapRange TapsWithin(const RunArgs& g, int m) {
  const int column = g.column + m * g.stride;
  const int first = column < 0 ? (-column + g.dilation - 1) / g.dilation : 0;
  const int end = column < g.width ? (g.width - column + g.dilation - 1) / g.dilation : 0;
  return {first, end < g.kernel_w ? end : g.kernel_w};
}

inline const float* WindowStart(const RunArgs& g, int ky, int m) {
  return g.bands[ky] + (g.column + static_cast<int64_t>(m) * g.stride) * g.pitch;
}

// One vector of channels, from j on, of N neighbours, from m on, whose windows are whole. KW: the kernel's width, or 0
// for any.
template <int N, int KW, class Fold, class Lanes>
RRM_ALWAYS_INLINE void RunVec(const Fold& fold, int m, int j, Lanes lanes) {
  const RunArgs& g = fold.args;
  const int64_t step = g.stride * g.pitch, tap_step = g.dilation * g.pitch;
  Vec acc[N];
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) acc[i] = fold.Start(j, lanes);
  const int width = KW > 0 ? KW : g.kernel_w;
  for (int ky = 0; ky < g.kernel_h; ++ky) {
    if (g.bands[ky] == nullptr) continue;
    const float* x = WindowStart(g, ky, m) + j;
#pragma GCC unroll 7
    for (int kx = 0; kx < width; ++kx, x += tap_step) {
      const auto tap = fold.Tap(ky * width + kx, m, j, lanes);
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) acc[i] = fold.Next(acc[i], lanes.Get(x + i * step), tap, i);
    }
  }
  float* out = g.out + m * g.out_stride + j;
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) lanes.Put(out + i * g.out_stride, acc[i]);
}

// The same with a stride and a dilation of 1: a column is loaded once for all windows that see it.
template <int N, int KW, class Fold, class Lanes>
RRM_ALWAYS_INLINE void RunVecShared(const Fold& fold, int m, int j, Lanes lanes) {
  const RunArgs& g = fold.args;
  Vec acc[N], columns[N + KW - 1];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) acc[i] = fold.Start(j, lanes);
  for (int ky = 0; ky < g.kernel_h; ++ky) {
    if (g.bands[ky] == nullptr) continue;
    const float* x = WindowStart(g, ky, m) + j;
#pragma GCC unroll 16
    for (int i = 0; i < N + KW - 1; ++i) columns[i] = lanes.Get(x + i * g.pitch);
#pragma GCC unroll 8
    for (int kx = 0; kx < KW; ++kx) {
      const auto tap = fold.Tap(ky * KW + kx, m, j, lanes);
#pragma GCC unroll 8
      for (int i = 0; i < N; ++i) acc[i] = fold.Next(acc[i], columns[i + kx], tap, i);
    }
  }
  float* out = g.out + m * g.out_stride + j;
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) lanes.Put(out + i * g.out_stride, acc[i]);
}

// V vectors of channels of a site whose window hangs over the left or right edge.
template <int V, class Fold, class Lanes>
RRM_ALWAYS_INLINE void EdgeVecs(const Fold& fold, int m, int j, TapRange taps, Lanes lanes) {
  const RunArgs& g = fold.args;
  Vec acc[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) acc[v] = fold.Start(j + v * kLanes, lanes);
  for (int ky = 0; ky < g.kernel_h && taps.first < taps.end; ++ky) {
    if (g.bands[ky] == nullptr) continue;
    const int64_t column = g.column + static_cast<int64_t>(m) * g.stride + taps.first * g.dilation;
    const float* x = g.bands[ky] + column * g.pitch + j;
    for (int kx = taps.first; kx < taps.end; ++kx, x += g.dilation * g.pitch) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const auto tap = fold.Tap(ky * g.kernel_w + kx, m, j + v * kLanes, lanes);
        acc[v] = fold.Next(acc[v], lanes.Get(x + v * kLanes), tap, 0);
      }
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) lanes.Put(g.out + m * g.out_stride + j + v * kLanes, acc[v]);
}

template <class Fold>
void EdgeSite(const Fold& fold, int m, TapRange taps) {
  const int c = fold.args.c;
  int j = 0;
  for (; j + 4 * kLanes <= c; j += 4 * kLanes) EdgeVecs<4>(fold, m, j, taps, WholeVec{});
  for (; j + kLanes <= c; j += kLanes) EdgeVecs<1>(fold, m, j, taps, WholeVec{});
  if (j < c) EdgeVecs<1>(fold, m, j, taps, FirstLanes{c - j});
}

// All channels of N neighbours: sites outside, channels inside, so that memory is read as it lies.
template <int N, int KW, bool kShared, class Fold>
void RunSites(const Fold& fold, int m) {
  const RunArgs& g = fold.args;
  if (g.ahead != nullptr) {
    for (int i = 0; i < N; ++i) {
      for (int j = 0; j < g.c; j += 16) Prefetch(g.ahead[m + i] + j);
    }
  }
  if (N == 1) {
    const TapRange taps = TapsWithin(g, m);
    if (taps.first > 0 || taps.end < g.kernel_w) return EdgeSite(fold, m, taps);
  }
  const auto vec = [&](int j, auto lanes) __attribute__((always_inline)) {
    if constexpr (kShared) {
      RunVecShared<N, KW>(fold, m, j, lanes);
    } else {
      RunVec<N, KW>(fold, m, j, lanes);
    }
  };
  int j = 0;
  for (; j + kLanes <= g.c; j += kLanes) vec(j, WholeVec{});
  if (j < g.c) vec(j, FirstLanes{g.c - j});
}

template <int KW, bool kShared, class Fold>
void RunOfWidth(const Fold& fold) {
  const RunArgs& g = fold.args;
  int m = 0, inside = g.sites;
  while (m < inside && TapsWithin(g, m).first > 0) RunSites<1, KW, kShared>(fold, m++);
  while (inside > m && TapsWithin(g, inside - 1).end < g.kernel_w) --inside;
  if (kShared) {
    for (; m + kWide <= inside; m += kWide) RunSites<kWide, KW, kShared>(fold, m);
  }
  for (; m + 4 <= inside; m += 4) RunSites<4, KW, kShared>(fold, m);
  if (inside - m == 3) RunSites<3, KW, kShared>(fold, m), m += 3;
  if (inside - m == 2) RunSites<2, KW, kShared>(fold, m), m += 2;
  for (; m < g.sites; ++m) RunSites<1, KW, kShared>(fold, m);
}

template <int KW, class Fold>
void RunOfKind(const Fold& fold) {
  const RunArgs& g = fold.args;
  return kShares && g.stride == 1 && g.dilation == 1 ? RunOfWidth<KW, true>(fold) : RunOfWidth<KW, false>(fold);
}

template <class Fold>
void FoldRun(const Fold& fold) {
  if (fold.args.kernel_w == 2) return RunOfKind<2>(fold);
  if (fold.args.kernel_w == 3) return RunOfKind<3>(fold);
  if (fold.args.kernel_w == 5) return RunOfKind<5>(fold);
  return RunOfWidth<0, false>(fold);
}

void WindowMaxRun(const RunArgs& g) { FoldRun(MaxFold<RunArgs>{g}); }

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
