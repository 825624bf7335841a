// depthwise: out[m][j] = bias[j] + sum over taps of row[t][m][j] * w[t][j].
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

// Sites that share a load of the weights. Eight chains of fused adds hide their latency; every product still loads its
// input, so more sites would gain little.
template <int SITES>
inline void DepthwiseVec(const DepthwiseArgs& g, int m, int j, int n) {
  const bool full = n == kLanes;
  Vec acc[SITES];
  const Vec bias = LoadN(g.bias + j, n);
  for (int i = 0; i < SITES; ++i) acc[i] = bias;
  const float* const* rows = g.rows + m;
  const float* w = g.w + j;
  if (full) {
    for (int t = 0; t < g.taps; ++t, rows += g.rows_stride, w += g.c) {
      const Vec wt = Load(w);
#pragma GCC unroll 8
      for (int i = 0; i < SITES; ++i) acc[i] = Fma(Load(rows[i] + j), wt, acc[i]);
    }
  } else {
    for (int t = 0; t < g.taps; ++t, rows += g.rows_stride, w += g.c) {
      const Vec wt = LoadN(w, n);
#pragma GCC unroll 8
      for (int i = 0; i < SITES; ++i) acc[i] = Fma(LoadN(rows[i] + j, n), wt, acc[i]);
    }
  }
  float* out = g.out + m * g.out_stride + j;
  for (int i = 0; i < SITES; ++i) StoreN(out + i * g.out_stride, acc[i], n);
}

// One site, nulls allowed.
inline void DepthwiseSite(const DepthwiseArgs& g, int m) {
  for (int j = 0; j < g.c; j += kLanes) {
    const int n = g.c - j < kLanes ? g.c - j : kLanes;
    Vec acc = LoadN(g.bias + j, n);
    const float* const* rows = g.rows + m;
    const float* w = g.w + j;
    for (int t = 0; t < g.taps; ++t, rows += g.rows_stride, w += g.c) {
      if (*rows != nullptr) acc = Fma(LoadN(*rows + j, n), LoadN(w, n), acc);
    }
    StoreN(g.out + m * g.out_stride + j, acc, n);
  }
}

void Depthwise(const DepthwiseArgs& g) {
  int m = 0;
  for (; m + kSiteBlock <= g.sites; m += kSiteBlock) {
    if (AnyNull(g.rows + m, g.rows_stride, g.taps)) {
      for (int i = 0; i < kSiteBlock; ++i) DepthwiseSite(g, m + i);
      continue;
    }
    for (int j = 0; j < g.c; j += kLanes) {
      DepthwiseVec<kSiteBlock>(g, m, j, g.c - j < kLanes ? g.c - j : kLanes);
    }
  }
  for (; m < g.sites; ++m) DepthwiseSite(g, m);
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
