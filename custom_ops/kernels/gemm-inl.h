// gemm: output rows from input rows that lie in pieces behind pointers (the taps of a convolution), without im2col.
//
// Packed weights: panels of NV vectors of output channels; a panel is its bias (NV vectors), then for each k its NV
// vectors, padded with zeros to whole vectors. A tile of R rows x NV vectors keeps its accumulators in registers over
// the whole sum, k ascending: neither R nor the place in the tile touches the order of a sum.
#pragma once

#define RRM_ALWAYS_INLINE inline __attribute__((always_inline))

namespace rrm {
namespace RRM_LEVEL {
namespace {

constexpr int kMaxVecs = kRegisters == 32 ? 4 : kLanes == 8 ? 3 : 2;

// Rows of a tile by its vectors: as many accumulators as leave registers for NV weights and one broadcast.
constexpr int kRows32[] = {0, 24, 12, 8, 6};
constexpr int kRows16[] = {0, 12, 6, 4};
constexpr int TileRows(int nv) { return kRegisters == 32 ? kRows32[nv] : kRows16[nv]; }

// A multiple of every tile's rows.
constexpr int kGemmTile = TileRows(1);

// Vectors are dealt evenly to the least number of panels: no panel is much narrower than the rest.
struct Panels {
  int vecs, count;
  explicit Panels(int n) : vecs((n + kLanes - 1) / kLanes), count((vecs + kMaxVecs - 1) / kMaxVecs) {}
  int Vecs(int panel) const { return vecs / count + (panel < vecs % count ? 1 : 0); }
};

int64_t GemmPackedFloats(int32_t k, int32_t n) { return (static_cast<int64_t>(k) + 1) * Panels(n).vecs * kLanes; }

void GemmPack(const float* w, int32_t k, int32_t n, const float* bias, float* packed) {
  const Panels panels(n);
  int first = 0;
  for (int p = 0; p < panels.count; ++p) {
    const int width = panels.Vecs(p) * kLanes;
    for (int row = -1; row < k; ++row, packed += width) {
      const float* from = (row < 0 ? bias : w + static_cast<int64_t>(row) * n) + first;
      for (int j = 0; j < width; ++j) packed[j] = first + j < n ? from[j] : 0.0f;
    }
    first += width;
  }
}

// Values of k per step: two halve the loads of row pointers, if there are registers for two sets of weights.
constexpr int kSteps = kRegisters == 32 ? 2 : 1;

// acc += a[k .. k + U) times weights, for all rows.
template <int U, int R, int NV>
RRM_ALWAYS_INLINE void GemmStep(Vec (&acc)[R][NV], const float* const* rows, int k, const float* w) {
  Vec weights[U][NV];
#pragma GCC unroll 2
  for (int u = 0; u < U; ++u) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) weights[u][v] = Load(w + (u * NV + v) * kLanes);
  }
#pragma GCC unroll 24
  for (int r = 0; r < R; ++r) {
    const float* a = rows[r] + k;
#pragma GCC unroll 2
    for (int u = 0; u < U; ++u) {
      const Vec x = Set(a[u]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = Fma(x, weights[u][v], acc[r][v]);
    }
  }
}

// acc += piece times weights, len values of k. The row pointers of tall tiles outnumber the general registers: they
// are read from the caller's table (or the stack), which is in L1, at each step.
template <int R, int NV>
RRM_ALWAYS_INLINE void GemmPiece(Vec (&acc)[R][NV], const float* const* rows, int len, const float* w) {
  int k = 0;
  for (; k + kSteps <= len; k += kSteps, w += kSteps * NV * kLanes) GemmStep<kSteps>(acc, rows, k, w);
  if (kSteps > 1 && k < len) GemmStep<1>(acc, rows, k, w);
}

// R rows from m on, one panel; out is the panel's first output of row m, n floats of it exist.
template <int R, int NV>
void GemmTile(const GemmArgs& g, int m, const float* w, float* out, int n) {
  Vec acc[R][NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    const Vec bias = Load(w + v * kLanes);
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r) acc[r][v] = bias;
  }
  w += NV * kLanes;
  const float* const* rows = g.rows + m;
  for (int p = 0; p < g.pieces; ++p, rows += g.rows_stride) {
    GemmPiece<R, NV>(acc, rows, g.lens[p], w);
    w += static_cast<int64_t>(g.lens[p]) * NV * kLanes;
  }
  if (n >= NV * kLanes) {
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) Store(out + r * g.out_stride + v * kLanes, acc[r][v]);
    }
    return;
  }
  const int last = n - (NV - 1) * kLanes;
#pragma GCC unroll 24
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV - 1; ++v) Store(out + r * g.out_stride + v * kLanes, acc[r][v]);
    StoreN(out + r * g.out_stride + (NV - 1) * kLanes, acc[r][NV - 1], last);
  }
}

using GemmTileFn = void (*)(const GemmArgs&, int, const float*, float*, int);

template <int R, int NV>
constexpr GemmTileFn CappedTile() {
  return GemmTile<(R < TileRows(NV) ? R : TileRows(NV)), NV>;
}

// Tiles of 1 .. TileRows(NV) rows; the rest of the table repeats the last.
template <int NV>
constexpr GemmTileFn kTiles[25] = {
    nullptr,
    CappedTile<1, NV>(),
    CappedTile<2, NV>(),
    CappedTile<3, NV>(),
    CappedTile<4, NV>(),
    CappedTile<5, NV>(),
    CappedTile<6, NV>(),
    CappedTile<7, NV>(),
    CappedTile<8, NV>(),
    CappedTile<9, NV>(),
    CappedTile<10, NV>(),
    CappedTile<11, NV>(),
    CappedTile<12, NV>(),
    CappedTile<13, NV>(),
    CappedTile<14, NV>(),
    CappedTile<15, NV>(),
    CappedTile<16, NV>(),
    CappedTile<17, NV>(),
    CappedTile<18, NV>(),
    CappedTile<19, NV>(),
    CappedTile<20, NV>(),
    CappedTile<21, NV>(),
    CappedTile<22, NV>(),
    CappedTile<23, NV>(),
    CappedTile<24, NV>(),
};

// All sites of one panel. The sites are dealt evenly to the least number of tiles: a last tile of one row would take
// as long as one of several.
template <int NV>
void GemmPanel(const GemmArgs& g, const float* w, float* out, int n) {
  const int tiles = (g.sites + TileRows(NV) - 1) / TileRows(NV);
  int m = 0;
  for (int t = 0; t < tiles; ++t) {
    const int rows = (g.sites - m) / (tiles - t);
    kTiles<NV>[rows](g, m, w, out + m* g.out_stride, n);
    m += rows;
  }
}

void Gemm(const GemmArgs& g) {
  if (g.sites <= 0 || g.n <= 0) return;
  const Panels panels(g.n);
  const float* w = g.packed;
  int first = 0;
  for (int p = 0; p < panels.count; ++p) {
    const int nv = panels.Vecs(p);
    const int width = nv * kLanes;
    float* out = g.out + first;
    if (nv == 1) GemmPanel<1>(g, w, out, g.n - first);
    if (nv == 2) GemmPanel<2>(g, w, out, g.n - first);
    if constexpr (kMaxVecs >= 3) {
      if (nv == 3) GemmPanel<3>(g, w, out, g.n - first);
    }
    if constexpr (kMaxVecs >= 4) {
      if (nv == 4) GemmPanel<4>(g, w, out, g.n - first);
    }
    w += (static_cast<int64_t>(g.k) + 1) * width;
    first += width;
  }
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
