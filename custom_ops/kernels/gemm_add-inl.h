// gemm_add: products added to rows that are kept, the residual kernel of a convolution. Weights, panels and tiles are
// those of gemm-inl.h; a call reads a stretch of k (one tap, or neighbouring ones) and its rows lie anywhere.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

// R rows from m on; w: the first weights of a panel, whose columns begin at `column` of each output row.
template <int R, int NV, int H>
void AddTile(const GemmAddArgs& g, int m, const float* w, int column) {
  Tile<R, NV, H> acc;
#pragma GCC unroll 24
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc.whole[r][v] = Zero();
    if (H) acc.half[r] = LowerHalf(Zero());
  }
  GemmPiece(acc, g.rows + m, g.count, w, false);
#pragma GCC unroll 24
  for (int r = 0; r < R; ++r) {
    float* out = g.outs[m + r] + column;
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) Store(out + v * kLanes, Add(Load(out + v * kLanes), acc.whole[r][v]));
    if (H) StoreHalf(out + NV * kLanes, Add(LoadHalf(out + NV * kLanes), acc.half[r]));
  }
}

using AddTileFn = void (*)(const GemmAddArgs&, int, const float*, int);

template <int R, int NV, int H>
constexpr AddTileFn CappedAdd() {
  return AddTile<(R < TileRows(NV + H) ? R : TileRows(NV + H)), NV, H>;
}

// As kTiles, up to 12 rows: lists are short here, and taller tiles gain nothing over so few columns.
template <int NV, int H>
constexpr AddTileFn kAddTiles[12] = {
    CappedAdd<1, NV, H>(), CappedAdd<2, NV, H>(),  CappedAdd<3, NV, H>(),  CappedAdd<4, NV, H>(),
    CappedAdd<5, NV, H>(), CappedAdd<6, NV, H>(),  CappedAdd<7, NV, H>(),  CappedAdd<8, NV, H>(),
    CappedAdd<9, NV, H>(), CappedAdd<10, NV, H>(), CappedAdd<11, NV, H>(), CappedAdd<12, NV, H>(),
};

template <int NV, int H>
void AddPanel(const GemmAddArgs& g, const float* w, int column) {
  constexpr int kRows = TileRows(NV + H) < 12 ? TileRows(NV + H) : 12;
  const int tiles = (g.sites + kRows - 1) / kRows;
  int m = 0;
  for (int t = 0; t < tiles; ++t) {
    const int rows = (g.sites - m) / (tiles - t);
    kAddTiles<NV, H>[rows - 1](g, m, w, column);
    m += rows;
  }
}

using AddPanelFn = void (*)(const GemmAddArgs&, const float*, int);

template <int H>
constexpr AddPanelFn AddPanelOf(int registers) {
  if (registers == 1) return AddPanel<1 - H, H>;
  if (registers == 2) return AddPanel<2 - H, H>;
  if constexpr (kMaxVecs >= 3) {
    if (registers == 3) return AddPanel<3 - H, H>;
  }
  if constexpr (kMaxVecs >= 4) {
    if (registers == 4) return AddPanel<4 - H, H>;
  }
  return nullptr;
}

void GemmAdd(const GemmAddArgs& g) {
  if (g.sites <= 0 || g.n <= 0 || g.count <= 0) return;
  const Panels panels(g.n);
  const float* w = g.packed;
  int column = g.column;
  for (int p = 0; p < panels.count; ++p) {
    const int width = panels.Width(p);
    AddPanelFn run = AddPanelOf<0>(panels.Registers(p));
    if constexpr (kHalfLanes > 0) {
      if (panels.Half(p)) run = AddPanelOf<1>(panels.Registers(p));
    }
    run(g, w + (static_cast<int64_t>(g.first) + 1) * width, column);
    w += (static_cast<int64_t>(g.k) + 1) * width;
    column += width;
  }
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
