// Folds over the taps of a window, null rows skipped: window_max, window_weighted here, depthwise in its own file.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

// Sites at a time. Eight chains of adds hide their latency and share what the tap loads; every product still loads its
// own input, so more sites would gain little.
constexpr int kSiteBlock = 8;
// Taps at a time; wider windows go in several rounds with the accumulators kept in out (same bits).
constexpr int kMaxTaps = 64;

// How a vector of channels is loaded and stored: whole, or its first n lanes.
struct WholeVec {
  Vec Get(const float* p) const { return Load(p); }
  void Put(float* p, Vec x) const { Store(p, x); }
};
struct FirstLanes {
  int n;
  Vec Get(const float* p) const { return LoadN(p, n); }
  void Put(float* p, Vec x) const { StoreN(p, x, n); }
};

// Bit i of sites[t]: row i of the block has tap first + t.
struct Presence {
  int first, count;
  uint8_t sites[kMaxTaps];
};

// Whether any of rows[t * stride + i], t < taps, i < kSiteBlock, may be null; without a branch for each. A null pointer
// less one is all ones, so the highest bit tells; a pointer that has that bit itself only costs the slower path.
inline bool MayHaveNull(const float* const* rows, int64_t stride, int taps) {
  typedef intptr_t Pointers __attribute__((vector_size(kLanes * sizeof(float))));
  constexpr int kPerVec = static_cast<int>(sizeof(Pointers) / sizeof(intptr_t));
  Pointers bits = {};
  for (int t = 0; t < taps; ++t, rows += stride) {
    for (int i = 0; i < kSiteBlock; i += kPerVec) {
      Pointers p;
      __builtin_memcpy(&p, rows + i, sizeof(p));
      bits |= p - 1;
    }
  }
  intptr_t any = 0;
  for (int i = 0; i < kPerVec; ++i) any |= bits[i];
  return any < 0;
}

template <int N>
inline void FindPresence(const float* const* rows, int64_t stride, Presence& presence) {
  constexpr int kAll = (1 << N) - 1;
  rows += presence.first * stride;
  if (N == kSiteBlock && !MayHaveNull(rows, stride, presence.count)) {
    __builtin_memset(presence.sites, kAll, sizeof(presence.sites));
    return;
  }
  for (int t = 0; t < presence.count; ++t, rows += stride) {
    int sites = 0;
    for (int i = 0; i < N; ++i) sites |= (rows[i] != nullptr) << i;
    presence.sites[t] = static_cast<uint8_t>(sites);
  }
}

// One vector of channels, from j on, of N sites, from m on.
template <int N, class Fold, class Lanes>
RRM_ALWAYS_INLINE void FoldVec(const Fold& fold, const Presence& presence, int m, int j, Lanes lanes) {
  constexpr int kAll = (1 << N) - 1;
  const auto& g = fold.args;
  float* out = g.out + m * g.out_stride + j;
  const float* const* rows = g.rows + presence.first * g.rows_stride + m;
  Vec acc[N];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) acc[i] = presence.first == 0 ? fold.Start(j, lanes) : lanes.Get(out + i * g.out_stride);
  for (int t = 0; t < presence.count; ++t, rows += g.rows_stride) {
    const auto tap = fold.Tap(presence.first + t, m, j, lanes);
    const int sites = presence.sites[t];
    if (sites == kAll) {
#pragma GCC unroll 8
      for (int i = 0; i < N; ++i) acc[i] = fold.Next(acc[i], lanes.Get(rows[i] + j), tap, i);
    } else if (sites != 0) {
#pragma GCC unroll 8
      for (int i = 0; i < N; ++i) {
        if ((sites >> i) & 1) acc[i] = fold.Next(acc[i], lanes.Get(rows[i] + j), tap, i);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) lanes.Put(out + i * g.out_stride, acc[i]);
}

// All taps and channels of N sites.
template <int N, class Fold>
void FoldSites(const Fold& fold, int m) {
  const auto& g = fold.args;
  Presence presence;
  presence.first = 0;
  do {
    presence.count = g.taps - presence.first < kMaxTaps ? g.taps - presence.first : kMaxTaps;
    FindPresence<N>(g.rows + m, g.rows_stride, presence);
    int j = 0;
    for (; j + kLanes <= g.c; j += kLanes) FoldVec<N>(fold, presence, m, j, WholeVec{});
    if (j < g.c) FoldVec<N>(fold, presence, m, j, FirstLanes{g.c - j});
    presence.first += kMaxTaps;
  } while (presence.first < g.taps);
}

template <class Fold>
inline void FoldAll(const Fold& fold) {
  int m = 0;
  for (; m + kSiteBlock <= fold.args.sites; m += kSiteBlock) FoldSites<kSiteBlock>(fold, m);
  for (; m < fold.args.sites; ++m) FoldSites<1>(fold, m);
}

template <class Args>
struct MaxFold {
  const Args& args;
  template <class Lanes>
  Vec Start(int, Lanes) const {
    return Set(-__builtin_inff());
  }
  template <class Lanes>
  int Tap(int, int, int, Lanes) const {
    return 0;
  }
  Vec Next(Vec acc, Vec x, int, int) const { return Max(acc, x); }
};

struct WeightedFold {
  const WindowArgs& args;
  // -0.0 + product is the rounded product, its sign included.
  template <class Lanes>
  Vec Start(int, Lanes) const {
    return Set(-0.0f);
  }
  template <class Lanes>
  const float* Tap(int t, int m, int, Lanes) const {
    return args.weights + t * args.rows_stride + m;
  }
  Vec Next(Vec acc, Vec x, const float* weights, int i) const { return Fma(Set(weights[i]), x, acc); }
};

void WindowMax(const WindowArgs& g) { FoldAll(MaxFold<WindowArgs>{g}); }
void WindowWeighted(const WindowArgs& g) { FoldAll(WeightedFold{g}); }

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
