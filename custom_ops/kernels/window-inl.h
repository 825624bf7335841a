// window_max and window_weighted: a fold over the taps of a window; null rows are skipped.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

// Row pointers as integers, eight at a time, to find nulls without a branch for each.
typedef uint64_t PointerBits __attribute__((vector_size(64)));
constexpr int kSiteBlock = 8;

// Whether any of rows[t * stride + m], t < taps, m < kSiteBlock, is null.
inline bool AnyNull(const float* const* rows, int64_t stride, int taps) {
  static_assert(sizeof(const float*) == 8 || sizeof(const float*) == 4, "a pointer is one or half a lane");
  if (sizeof(const float*) != 8) return true;
  typedef int64_t Flags __attribute__((vector_size(64)));
  Flags null = {};
  for (int t = 0; t < taps; ++t) {
    PointerBits p;
    __builtin_memcpy(&p, rows + t * stride, sizeof(p));
    null |= (p == 0);
  }
  int64_t any = 0;
  for (int i = 0; i < kSiteBlock; ++i) any |= null[i];
  return any != 0;
}

struct MaxFold {
  static Vec Start() { return Set(-__builtin_inff()); }
  static Vec First(Vec x, float) { return Max(Start(), x); }
  static Vec Next(Vec acc, Vec x, float) { return Max(acc, x); }
};
struct WeightedFold {
  static Vec Start() { return Zero(); }
  static Vec First(Vec x, float w) { return Mul(x, Set(w)); }
  static Vec Next(Vec acc, Vec x, float w) { return Fma(Set(w), x, acc); }
};

// The taps of one site that are there.
constexpr int kMaxTaps = 64;
struct Taps {
  const float* rows[kMaxTaps];
  float weights[kMaxTaps];
  int count = 0;
};

template <class Fold>
inline void FoldTaps(const Taps& taps, bool fresh, int c, float* out) {
  for (int j = 0; j < c; j += kLanes) {
    const int n = c - j < kLanes ? c - j : kLanes;
    Vec acc = fresh ? Fold::Start() : LoadN(out + j, n);
    int t = 0;
    if (fresh && taps.count > 0) {
      acc = Fold::First(LoadN(taps.rows[0] + j, n), taps.weights[0]);
      t = 1;
    }
    if (n == kLanes) {
      for (; t < taps.count; ++t) acc = Fold::Next(acc, Load(taps.rows[t] + j), taps.weights[t]);
    } else {
      for (; t < taps.count; ++t) acc = Fold::Next(acc, LoadN(taps.rows[t] + j, n), taps.weights[t]);
    }
    StoreN(out + j, acc, n);
  }
}

// Taps are collected once for a site, then folded vector by vector; windows above kMaxTaps go in several rounds
// (the accumulators are kept in out between them: same bits).
template <class Fold>
inline void Window(const WindowArgs& g) {
  for (int m = 0; m < g.sites; ++m) {
    float* out = g.out + m * g.out_stride;
    bool fresh = true;
    Taps taps;
    for (int t = 0; t < g.taps; ++t) {
      const int64_t at = t * g.rows_stride + m;
      if (g.rows[at] == nullptr) continue;
      if (taps.count == kMaxTaps) {
        FoldTaps<Fold>(taps, fresh, g.c, out);
        fresh = false;
        taps.count = 0;
      }
      taps.rows[taps.count] = g.rows[at];
      taps.weights[taps.count++] = g.weights != nullptr ? g.weights[at] : 0.0f;
    }
    FoldTaps<Fold>(taps, fresh, g.c, out);
  }
}

void WindowMax(const WindowArgs& g) { Window<MaxFold>(g); }
void WindowWeighted(const WindowArgs& g) { Window<WeightedFold>(g); }

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
