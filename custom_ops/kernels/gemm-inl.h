// gemm: output rows from input rows that lie in pieces behind pointers (the taps of a convolution), without im2col.
//
// Packed weights: panels of up to kMaxVecs registers of output channels, the last register of the last panel a half one
// where that is enough. A panel is a row of biases, then a row of weights for each k, padded with zeros to whole
// registers. A tile of R output rows by one panel keeps its accumulators in registers over the whole sum, k ascending:
// neither R nor the place in the tile touches the order of a sum.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

// With 32 registers, 6 x 64 to 24 x 16 floats of AVX-512 reach 97 to 99 % of the peak of one multiply-add a cycle.
constexpr int kMaxVecs = kRegisters == 32 ? 4 : kLanes == 8 ? 3 : 2;

// Rows of a tile by its registers: as many accumulators as leave room for the weights and one broadcast.
constexpr int kRows32[] = {0, 24, 12, 8, 6};
constexpr int kRows16[] = {0, 12, 6, 4};
constexpr int TileRows(int registers) { return kRegisters == 32 ? kRows32[registers] : kRows16[registers]; }

// A multiple of every tile's rows.
constexpr int kGemmTile = TileRows(1);

// Registers are dealt evenly to the least number of panels: no panel is much narrower than the rest.
struct Panels {
  int half, registers, count;
  explicit Panels(int n) {
    const int over = n % kLanes;
    half = over > 0 && over <= kHalfLanes ? 1 : 0;
    registers = (n + kLanes - 1) / kLanes;
    count = (registers + kMaxVecs - 1) / kMaxVecs;
  }
  int Registers(int panel) const { return registers / count + (panel < registers % count ? 1 : 0); }
  int Half(int panel) const { return panel == count - 1 ? half : 0; }
  int Width(int panel) const { return Registers(panel) * kLanes - Half(panel) * (kLanes - kHalfLanes); }
  int Width() const { return registers * kLanes - half * (kLanes - kHalfLanes); }
};

int64_t GemmPackedFloats(int32_t k, int32_t n) { return (static_cast<int64_t>(k) + 1) * Panels(n).Width(); }

void GemmPack(const float* w, int32_t k, int32_t n, const float* bias, float* packed) {
  const Panels panels(n);
  int first = 0;
  for (int p = 0; p < panels.count; ++p) {
    const int width = panels.Width(p);
    for (int row = -1; row < k; ++row, packed += width) {
      const float* from = (row < 0 ? bias : w + static_cast<int64_t>(row) * n) + first;
      for (int j = 0; j < width; ++j) packed[j] = first + j < n ? from[j] : 0.0f;
    }
    first += width;
  }
}

// Values of k per step: two halve the loads of row pointers, if there are registers for two sets of weights.
constexpr int kSteps = kRegisters == 32 ? 2 : 1;

// The accumulators of R rows: NV whole registers and, with H = 1, a half one. (An array of no elements is no array.)
template <int R, int NV, int H>
struct Tile {
  static constexpr int kWidth = NV * kLanes + H * kHalfLanes;
  Vec whole[R][NV > 0 ? NV : 1];
  Half half[R];
};

// acc += a[k .. k + U) times weights, for all rows.
template <int U, int R, int NV, int H>
RRM_ALWAYS_INLINE void GemmStep(Tile<R, NV, H>& acc, const float* const* rows, int k, const float* w) {
  Vec whole[U][NV > 0 ? NV : 1];
  Half half[U];
#pragma GCC unroll 2
  for (int u = 0; u < U; ++u) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) whole[u][v] = Load(w + u * acc.kWidth + v * kLanes);
    if (H) half[u] = LoadHalf(w + u * acc.kWidth + NV * kLanes);
  }
#pragma GCC unroll 24
  for (int r = 0; r < R; ++r) {
    const float* a = rows[r] + k;
#pragma GCC unroll 2
    for (int u = 0; u < U; ++u) {
      const Vec x = Set(a[u]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc.whole[r][v] = Fma(x, whole[u][v], acc.whole[r][v]);
      // Two broadcasts within the multiply-adds beat a shared one, unless the shared one is there for others anyway.
      if (H) acc.half[r] = Fma(NV > 1 ? LowerHalf(x) : SetHalf(a[u]), half[u], acc.half[r]);
    }
  }
}

// Values of k in a line of the cache.
constexpr int kLine = 16;

// acc += piece times weights, len values of k. The row pointers of tall tiles outnumber the general registers: they
// are read from the caller's table (or the stack), which is in L1, at each step. fetches: the next R rows are asked for
// line by line, as far as these are read: asked for at once, they would wait for each other, and this tile for them.
template <int R, int NV, int H>
RRM_ALWAYS_INLINE void GemmPiece(Tile<R, NV, H>& acc, const float* const* rows, int len, const float* w, bool fetches) {
  int k = 0;
  for (; fetches && k + kLine <= len; k += kLine) {
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r) Prefetch(rows[R + r] + k);
    for (int i = 0; i < kLine; i += kSteps, w += kSteps * acc.kWidth) GemmStep<kSteps>(acc, rows, k + i, w);
  }
  for (; k + kSteps <= len; k += kSteps, w += kSteps * acc.kWidth) GemmStep<kSteps>(acc, rows, k, w);
  if (kSteps > 1 && k < len) GemmStep<1>(acc, rows, k, w);
}

// R rows from m on, one panel; out is the panel's first output of row m, n floats of it exist.
template <int R, int NV, int H>
void GemmTile(const GemmArgs& g, int m, const float* w, float* out, int n) {
  if (g.ahead != nullptr) {
    const int64_t first = out - g.out - m * g.out_stride;
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < NV + H; ++v) Prefetch(g.ahead[m + r] + first + v * kLanes);
    }
  }
  Tile<R, NV, H> acc;
#pragma GCC unroll 24
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc.whole[r][v] = Load(w + v * kLanes);
    if (H) acc.half[r] = LoadHalf(w + NV * kLanes);
  }
  w += acc.kWidth;
  const float* const* rows = g.rows + m;
  const bool fetches = g.fetches && m + 2 * R <= g.sites;  // later tiles are as tall, or taller
  for (int p = 0; p < g.pieces; ++p, rows += g.rows_stride) {
    GemmPiece(acc, rows, g.lens[p], w, fetches);
    w += static_cast<int64_t>(g.lens[p]) * acc.kWidth;
  }
  constexpr int kFull = H ? NV : NV - 1;  // whole registers that are stored whole; the last one may have a tail
  const int last = n - kFull * kLanes;
#pragma GCC unroll 24
  for (int r = 0; r < R; ++r, out += g.out_stride) {
#pragma GCC unroll 4
    for (int v = 0; v < kFull; ++v) Store(out + v * kLanes, acc.whole[r][v]);
    if constexpr (H) {
      StoreN(out + NV * kLanes, acc.half[r], last);
    } else if (last == kLanes) {
      Store(out + kFull * kLanes, acc.whole[r][kFull]);
    } else {
      StoreN(out + kFull * kLanes, acc.whole[r][kFull], last);
    }
  }
}

using GemmTileFn = void (*)(const GemmArgs&, int, const float*, float*, int);

template <int R, int NV, int H>
constexpr GemmTileFn CappedTile() {
  return GemmTile<(R < TileRows(NV + H) ? R : TileRows(NV + H)), NV, H>;
}

// Tiles of 1 .. TileRows(NV + H) rows, four to a line; the rest of the table repeats the last.
template <int NV, int H>
constexpr GemmTileFn kTiles[24] = {
    CappedTile<1, NV, H>(),  CappedTile<2, NV, H>(),  CappedTile<3, NV, H>(),  CappedTile<4, NV, H>(),
    CappedTile<5, NV, H>(),  CappedTile<6, NV, H>(),  CappedTile<7, NV, H>(),  CappedTile<8, NV, H>(),
    CappedTile<9, NV, H>(),  CappedTile<10, NV, H>(), CappedTile<11, NV, H>(), CappedTile<12, NV, H>(),
    CappedTile<13, NV, H>(), CappedTile<14, NV, H>(), CappedTile<15, NV, H>(), CappedTile<16, NV, H>(),
    CappedTile<17, NV, H>(), CappedTile<18, NV, H>(), CappedTile<19, NV, H>(), CappedTile<20, NV, H>(),
    CappedTile<21, NV, H>(), CappedTile<22, NV, H>(), CappedTile<23, NV, H>(), CappedTile<24, NV, H>(),
};

// All sites of one panel. The sites are dealt evenly to the least number of tiles: a last tile of one row would take
// as long as one of several.
template <int NV, int H>
void GemmPanel(const GemmArgs& g, const float* w, float* out, int n) {
  constexpr int kRows = TileRows(NV + H);
  const int tiles = (g.sites + kRows - 1) / kRows;
  int m = 0;
  for (int t = 0; t < tiles; ++t) {
    const int rows = (g.sites - m) / (tiles - t);
    kTiles<NV, H>[rows - 1](g, m, w, out + m* g.out_stride, n);
    m += rows;
  }
}

using GemmPanelFn = void (*)(const GemmArgs&, const float*, float*, int);

// By half register or not, and by registers in all.
template <int H>
constexpr GemmPanelFn PanelOf(int registers) {
  if (registers == 1) return GemmPanel<1 - H, H>;
  if (registers == 2) return GemmPanel<2 - H, H>;
  if constexpr (kMaxVecs >= 3) {
    if (registers == 3) return GemmPanel<3 - H, H>;
  }
  if constexpr (kMaxVecs >= 4) {
    if (registers == 4) return GemmPanel<4 - H, H>;
  }
  return nullptr;
}

void Gemm(const GemmArgs& g) {
  if (g.sites <= 0 || g.n <= 0) return;
  const Panels panels(g.n);
  GemmArgs args = g;
  const float* w = g.packed;
  int first = 0;
  for (int p = 0; p < panels.count; ++p) {
    const int width = panels.Width(p);
    GemmPanelFn run = PanelOf<0>(panels.Registers(p));
    if constexpr (kHalfLanes > 0) {
      if (panels.Half(p)) run = PanelOf<1>(panels.Registers(p));
    }
    run(args, w, g.out + first, g.n - first < width ? g.n - first : width);
    args.fetches = false;  // the rows are near by now
    w += (static_cast<int64_t>(g.k) + 1) * width;
    first += width;
  }
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
