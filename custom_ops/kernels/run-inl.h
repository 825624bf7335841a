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

// The bands that are there, from the first column on that a group of sites reads.
struct Bands {
  int count = 0;
  const float* x[kMostBands];
  int tap[kMostBands];  // number of the band's first tap
  Bands(const RunArgs& g, int m) {
    for (int ky = 0; ky < g.kernel_h; ++ky) {
      if (g.bands[ky] == nullptr) continue;
      x[count] = g.bands[ky] + (g.column + static_cast<int64_t>(m) * g.stride) * g.pitch;
      tap[count++] = ky * g.kernel_w;
    }
  }
};

// One vector of channels, from j on, of N sites whose windows are whole. KW: the kernel's width, or 0 for any.
template <int N, int KW, class Fold, class Lanes>
RRM_ALWAYS_INLINE void RunVec(const Fold& fold, const Bands& bands, float* out, int j, Lanes lanes) {
  const RunArgs& g = fold.args;
  const int64_t step = g.stride * g.pitch, tap_step = g.dilation * g.pitch;
  Vec acc[N];
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) acc[i] = fold.Start(j, lanes);
  const int width = KW > 0 ? KW : g.kernel_w;
  for (int b = 0; b < bands.count; ++b) {
    const float* x = bands.x[b] + j;
#pragma GCC unroll 7
    for (int kx = 0; kx < width; ++kx, x += tap_step) {
      const auto tap = fold.Tap(bands.tap[b] + kx, 0, j, lanes);
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) acc[i] = fold.Next(acc[i], lanes.Get(x + i * step), tap, i);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i, out += g.out_stride) lanes.Put(out + j, acc[i]);
}

// The same where windows are S columns apart and a window's columns are neighbours: each is loaded once for all windows
// that see it. pitch: floats from one column to the next.
template <int N, int KW, int S, class Fold, class Lanes>
RRM_ALWAYS_INLINE void SharedVec(const Fold& fold, const Bands& bands, int64_t pitch, float* out, int64_t out_stride,
                                 int j, Lanes lanes) {
  constexpr int kColumns = (N - 1) * S + KW;
  Vec acc[N], columns[kColumns];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) acc[i] = fold.Start(j, lanes);
  for (int b = 0; b < bands.count; ++b) {
    const float* x = bands.x[b] + j;
#pragma GCC unroll 20
    for (int i = 0; i < kColumns; ++i, x += pitch) columns[i] = lanes.Get(x);
#pragma GCC unroll 8
    for (int kx = 0; kx < KW; ++kx) {
      const auto tap = fold.Tap(bands.tap[b] + kx, 0, j, lanes);
#pragma GCC unroll 8
      for (int i = 0; i < N; ++i) acc[i] = fold.Next(acc[i], columns[i * S + kx], tap, i);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i, out += out_stride) lanes.Put(out + j, acc[i]);
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

// What `ahead` has of N sites from channel j on: line by line, between the sums. Asked for at once, these lines would
// wait for each other, and the sums for them.
template <int N>
RRM_ALWAYS_INLINE void FetchAhead(const RunArgs& g, int m, int step, int j) {
  if (g.ahead == nullptr || j % 16 != 0) return;
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) Prefetch(g.ahead[m + i * step] + j);
}

// All channels of N sites: sites outside, channels inside, so that memory is read as it lies. S > 0: sites m, m + step,
// ... of a run with that stride; where step is not 1 it is the dilation. S = 0: neighbours, columns are not shared.
template <int N, int KW, int S, class Fold>
void RunSites(const Fold& given, int m, int step) {
  const RunArgs g = given.args;  // a copy: what is stored to `out` can't change it
  const Fold fold{g};
  const Bands bands(g, m);
  float* out = g.out + m * g.out_stride;
  const auto vec = [&](int j, auto lanes) __attribute__((always_inline)) {
    FetchAhead<N>(g, m, step, j);
    if constexpr (S > 0) {
      SharedVec<N, KW, S>(fold, bands, g.pitch * step, out, g.out_stride * step, j, lanes);
    } else {
      RunVec<N, KW>(fold, bands, out, j, lanes);
    }
  };
  int j = 0;
  for (; j + kLanes <= g.c; j += kLanes) vec(j, WholeVec{});
  if (j < g.c) vec(j, FirstLanes{g.c - j});
}

// Sites m, m + step, ... before `end`, whose windows are whole.
template <int KW, int S, class Fold>
void WholeSites(const Fold& fold, int m, int end, int step) {
  if (S > 0) {
    for (; m + (kWide - 1) * step < end; m += kWide * step) RunSites<kWide, KW, S>(fold, m, step);
  }
  for (; m + 3 * step < end; m += 4 * step) RunSites<4, KW, S>(fold, m, step);
  if (m + 2 * step < end) return RunSites<3, KW, S>(fold, m, step);
  if (m + step < end) return RunSites<2, KW, S>(fold, m, step);
  if (m < end) RunSites<1, KW, S>(fold, m, step);
}

template <int KW, int S, class Fold>
void RunOfWidth(const Fold& fold) {
  const RunArgs& g = fold.args;
  const auto edge = [&](int m) {
    for (int j = 0; j < g.c; j += 16) FetchAhead<1>(g, m, 1, j);
    EdgeSite(fold, m, TapsWithin(g, m));
  };
  // Not by TapsWithin: its divisions take longer than a short run.
  const int reach = (g.kernel_w - 1) * g.dilation;
  int m = 0, inside = g.sites;
  while (m < g.sites && g.column + m * g.stride < 0) edge(m++);
  while (inside > m && g.column + (inside - 1) * g.stride + reach >= g.width) --inside;
  const int steps = S > 0 ? g.dilation : 1;
  for (int r = 0; r < steps; ++r) WholeSites<KW, S>(fold, m + r, inside, steps);
  for (m = inside; m < g.sites; ++m) edge(m);
}

template <int KW, class Fold>
void RunOfKind(const Fold& fold) {
  const RunArgs& g = fold.args;
  if (kShares && g.stride == 1) return RunOfWidth<KW, 1>(fold);
  if (kShares && g.stride == 2 && g.dilation == 1) return RunOfWidth<KW, 2>(fold);
  return RunOfWidth<KW, 0>(fold);
}

template <class Fold>
void FoldRun(const Fold& fold) {
  if (fold.args.kernel_w == 2) return RunOfKind<2>(fold);
  if (fold.args.kernel_w == 3) return RunOfKind<3>(fold);
  if (fold.args.kernel_w == 5) return RunOfKind<5>(fold);
  return RunOfWidth<0, 0>(fold);
}

void WindowMaxRun(const RunArgs& g) { FoldRun(MaxFold<RunArgs>{g}); }

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
