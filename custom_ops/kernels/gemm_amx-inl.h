// gemm with the tile registers of AMX: a float is split into two bf16 numbers (split-inl.h), a product of floats into
// three of bf16, summed in float: lo * hi + hi * hi + hi * lo. Left out is lo * lo: at most 2^-16 of the product.
//
// A tile of 16 sites by 16 output channels is a sum over steps of 32 values of k (the pieces of a row one after the
// other, zeros behind the last), and in each step over the three products in the order above. Nothing else is added,
// whatever the call: what the accumulators hold between two stretches of k is stored and loaded as it is. A row of a
// tile depends on no other row, so a site's sum is the same in any row, beside any sites, and in a tile of any height.
//
// Packed weights: one float says where the rest begins (the next multiple of 64 bytes: a row of a tile is a cache
// line), or is zero for the layout of the float kernel. Then the biases, 16 to a tile; then for each 16 channels and
// each step the tile of hi parts and the tile of lo parts: row i has values 2i and 2i + 1 of k for channel after
// channel.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

constexpr int kTileSites = 16;
constexpr int kTileChannels = 16;
constexpr int kTileFloats = kTileDepth * kTileChannels / 2;  // a tile of weights, counted in floats
constexpr int kStepFloats = 2 * kTileFloats;                 // hi and lo
constexpr int kLineBytes = 64;

// Where k or n does not fill one tile, most of each product would be padding, and splitting the rows would cost more
// than the float kernel's whole sum: that one is used, with its precision. The choice depends on k and n alone, so that
// it is the same in every call for the same weights.
constexpr bool FillsTiles(int32_t k, int32_t n) { return k >= kTileDepth && n >= kTileChannels; }

constexpr int CeilDiv(int a, int b) { return (a + b - 1) / b; }

int64_t AmxPackedFloats(int32_t k, int32_t n) {
  if (!FillsTiles(k, n)) return GemmPackedFloats(k, n);
  const int64_t column = kTileChannels + static_cast<int64_t>(CeilDiv(k, kTileDepth)) * kStepFloats;
  return kLineBytes / 4 + CeilDiv(n, kTileChannels) * column;  // the float layout, 1 + (k + 1) * n padded, is no longer
}

void AmxPack(const float* w, int32_t k, int32_t n, const float* bias, float* packed) {
  if (!FillsTiles(k, n)) return GemmPack(w, k, n, bias, packed);
  for (int64_t i = 0; i < static_cast<int64_t>(k) * n; ++i) {
    if (IsFinite(w[i])) continue;
    // An infinite weight times a lo part of zero would be NaN. (Of the rows, Stage takes care.)
    packed[0] = 0.0f;
    return GemmPack(w, k, n, bias, packed + 1);
  }
  const uintptr_t over = (reinterpret_cast<uintptr_t>(packed) / 4 + 1) % (kLineBytes / 4);
  const int shift = 1 + static_cast<int>(over == 0 ? 0 : kLineBytes / 4 - over);
  packed[0] = static_cast<float>(shift);
  float* to = packed + shift;
  const int columns = CeilDiv(n, kTileChannels);
  for (int j = 0; j < columns * kTileChannels; ++j) *to++ = j < n ? bias[j] : 0.0f;
  for (int first = 0; first < n; first += kTileChannels) {
    for (int step = 0; step < k; step += kTileDepth, to += kStepFloats) {
      for (int pair = 0; pair < kTileDepth / 2; ++pair) {
        uint16_t hi[2 * kTileChannels], lo[2 * kTileChannels];
        for (int i = 0; i < 2 * kTileChannels; ++i) {
          const int row = step + 2 * pair + i % 2, j = first + i / 2;
          Split(row < k && j < n ? w[static_cast<int64_t>(row) * n + j] : 0.0f, hi + i, lo + i);
        }
        memcpy(to + pair * kTileChannels, hi, sizeof hi);
        memcpy(to + kTileFloats + pair * kTileChannels, lo, sizeof lo);
      }
    }
  }
}

// Steps of k whose split rows are held at once: 32 sites by 256 values take 32 kB. Longer sums come back for more.
constexpr int kHeldSteps = 8;

// The split rows of up to two tiles of sites.
struct SplitRows {
  using Row = uint16_t[kTileDepth];
  using Rows = Row[2][kHeldSteps][kTileSites];
  alignas(kLineBytes) Rows hi, lo;
  // hi with zeros for what is not finite, made only where there is any: hi * lo is taken from it, as infinity times a
  // lo part of zero, or of the other sign, would be NaN. The other two products give what the float kernel gives.
  alignas(kLineBytes) Rows finite;
  bool all_finite;
  const Rows& ForLo() const { return all_finite ? hi : finite; }
};

// A place in the concatenated pieces of a row.
struct Place {
  int piece, at;
};

Place Advance(const GemmArgs& g, Place p, int by) {
  for (p.at += by; p.piece < g.pieces && p.at >= g.lens[p.piece]; ++p.piece) p.at -= g.lens[p.piece];
  return p;
}

// kTileDepth values of site m from p on, across the ends of pieces; zeros behind the last.
void Gather(const GemmArgs& g, Place p, int m, float* x) {
  int n = 0;
  for (; n < kTileDepth && p.piece < g.pieces; ++p.piece, p.at = 0) {
    const int left = g.lens[p.piece] - p.at;
    const int count = left < kTileDepth - n ? left : kTileDepth - n;
    memcpy(x + n, g.rows[p.piece * g.rows_stride + m] + p.at, static_cast<size_t>(count) * sizeof(float));
    n += count;
  }
  for (; n < kTileDepth; ++n) x[n] = 0.0f;
}

// Sites m .. m + sites, `height` to a tile, over steps of k from p on. Returns the place behind them.
Place Stage(const GemmArgs& g, int m, int sites, int height, Place p, int steps, SplitRows& rows) {
  bool all_finite = true;
  const int tiles = CeilDiv(sites, height);
  for (int step = 0; step < steps; ++step, p = Advance(g, p, kTileDepth)) {
    const bool within = p.piece < g.pieces && g.lens[p.piece] - p.at >= kTileDepth;
    for (int s = 0; s < tiles * height; ++s) {
      uint16_t* hi = rows.hi[s / height][step][s % height];
      uint16_t* lo = rows.lo[s / height][step][s % height];
      if (s >= sites) {  // the last tile's rest: its sums are not stored
        memset(hi, 0, sizeof(SplitRows::Row));
        memset(lo, 0, sizeof(SplitRows::Row));
      } else if (within) {
        all_finite &= SplitRow(g.rows[p.piece * g.rows_stride + m + s] + p.at, hi, lo);
      } else {
        float x[kTileDepth];
        Gather(g, p, m + s, x);
        all_finite &= SplitRow(x, hi, lo);
      }
    }
  }
  rows.all_finite = all_finite;
  if (all_finite) return p;
  for (int s = 0; s < tiles * height; ++s) {
    for (int step = 0; step < steps; ++step) {
      for (int i = 0; i < kTileDepth; ++i) {
        const uint16_t x = rows.hi[s / height][step][s % height][i];
        rows.finite[s / height][step][s % height][i] = (x & 0x7f80u) == 0x7f80u ? uint16_t{0} : x;
      }
    }
  }
  return p;
}

// One or two tiles of sites by some tiles of channels, over a stretch of k.
struct Stretch {
  const SplitRows* rows;
  int steps;
  bool first;  // the sums start at the bias, else at what is in `out`
  const float* bias;
  const float* w;    // the first tile's weights
  int64_t w_stride;  // floats to the next tile's
  float* out;
  int64_t out_stride;
  int height, sites, channels;
};

// With M tiles of sites, sum T is that of tile of sites T / 2 and tile of channels T % 2 for M = 2, else of tile of
// channels T: M * N sums in all.
template <int M>
constexpr int SiteTile(int sum) {
  return M == 2 ? sum / 2 : 0;
}
template <int M>
constexpr int ChannelTile(int sum) {
  return M == 2 ? sum % 2 : sum;
}

// Where a sum lies in the output and how much of its tile is there.
template <int M>
struct Output {
  float* out;
  int64_t stride;
  int sites, channels;
  bool whole;
  Output(const Stretch& s, int sum) {
    const int m = SiteTile<M>(sum) * s.height, j = ChannelTile<M>(sum) * kTileChannels;
    out = s.out + m * s.out_stride + j;
    stride = s.out_stride;
    sites = s.sites - m < s.height ? s.sites - m : s.height;
    channels = s.channels - j < kTileChannels ? s.channels - j : kTileChannels;
    whole = sites == s.height && channels == kTileChannels;
  }
  size_t Bytes() const { return static_cast<size_t>(channels) * sizeof(float); }
};

struct alignas(kLineBytes) Sums {
  float row[kTileSites][kTileChannels];
};

template <int M, int N, int T>
RRM_ALWAYS_INLINE void LoadSum(const Stretch& s) {
  if constexpr (ChannelTile<M>(T) < N) {
    if (s.first) return AmxLoad<T>(s.bias + ChannelTile<M>(T) * kTileChannels, 0);
    const Output<M> to(s, T);
    if (to.whole) return AmxLoad<T>(to.out, to.stride * 4);
    Sums sums{};
    for (int m = 0; m < to.sites; ++m) memcpy(sums.row[m], to.out + m * to.stride, to.Bytes());
    AmxLoad<T>(&sums, kLineBytes);
  }
}

template <int M, int N, int T>
RRM_ALWAYS_INLINE void StoreSum(const Stretch& s) {
  if constexpr (ChannelTile<M>(T) < N) {
    const Output<M> to(s, T);
    if (to.whole) return AmxStore<T>(to.out, to.stride * 4);
    Sums sums;
    AmxStore<T>(&sums, kLineBytes);
    for (int m = 0; m < to.sites; ++m) memcpy(to.out + m * to.stride, sums.row[m], to.Bytes());
  }
}

// Two tiles of sites by N <= 2 of channels: tiles 4 and 5 hold sites, 6 and 7 weights.
template <int N>
RRM_ALWAYS_INLINE void MultiplyFour() {
  AmxMultiply<0, 4, 6>();
  if constexpr (N == 2) AmxMultiply<1, 4, 7>();
  AmxMultiply<2, 5, 6>();
  if constexpr (N == 2) AmxMultiply<3, 5, 7>();
}

RRM_ALWAYS_INLINE void LoadSites(const SplitRows::Rows& rows, int step) {
  AmxLoad<4>(rows[0][step], kLineBytes);
  AmxLoad<5>(rows[1][step], kLineBytes);
}

template <int N>
RRM_ALWAYS_INLINE void LoadWeights(const float* w, int64_t stride) {
  AmxLoad<6>(w, kLineBytes);
  if constexpr (N == 2) AmxLoad<7>(w + stride, kLineBytes);
}

// In this order of the products each half of the weights is loaded once.
template <int N>
RRM_ALWAYS_INLINE void MultiplyTwo(const Stretch& s) {
  const float* w = s.w;
  const SplitRows::Rows& for_lo = s.rows->ForLo();
  for (int step = 0; step < s.steps; ++step, w += kStepFloats) {
    LoadSites(s.rows->lo, step);
    LoadWeights<N>(w, s.w_stride);
    MultiplyFour<N>();
    LoadSites(s.rows->hi, step);
    MultiplyFour<N>();
    LoadSites(for_lo, step);
    LoadWeights<N>(w + kTileFloats, s.w_stride);
    MultiplyFour<N>();
  }
}

// One tile of sites by N <= 4 of channels: the products of one sum wait for each other, so there are more sums.
template <int N, int T>
RRM_ALWAYS_INLINE void MultiplyHi(const float* w, int64_t stride) {
  if constexpr (T < N) {
    AmxLoad<6>(w + T * stride, kLineBytes);
    AmxMultiply<T, 5, 6>();
    AmxMultiply<T, 4, 6>();
    MultiplyHi<N, T + 1>(w, stride);
  }
}

template <int N, int T>
RRM_ALWAYS_INLINE void MultiplyLo(const float* w, int64_t stride) {
  if constexpr (T < N) {
    AmxLoad<7>(w + T * stride, kLineBytes);
    AmxMultiply<T, 4, 7>();
    MultiplyLo<N, T + 1>(w, stride);
  }
}

template <int N>
RRM_ALWAYS_INLINE void MultiplyOne(const Stretch& s) {
  const float* w = s.w;
  const SplitRows::Rows& for_lo = s.rows->ForLo();
  for (int step = 0; step < s.steps; ++step, w += kStepFloats) {
    AmxLoad<4>(s.rows->hi[0][step], kLineBytes);
    AmxLoad<5>(s.rows->lo[0][step], kLineBytes);
    MultiplyHi<N, 0>(w, s.w_stride);
    AmxLoad<4>(for_lo[0][step], kLineBytes);
    MultiplyLo<N, 0>(w + kTileFloats, s.w_stride);
  }
}

template <int M, int N>
void Multiply(const Stretch& s) {
  LoadSum<M, N, 0>(s);
  LoadSum<M, N, 1>(s);
  LoadSum<M, N, 2>(s);
  LoadSum<M, N, 3>(s);
  if constexpr (M == 2) MultiplyTwo<N>(s);
  if constexpr (M == 1) MultiplyOne<N>(s);
  StoreSum<M, N, 0>(s);
  StoreSum<M, N, 1>(s);
  StoreSum<M, N, 2>(s);
  StoreSum<M, N, 3>(s);
}

using MultiplyFn = void (*)(const Stretch&);
constexpr MultiplyFn kMultiplyOne[] = {Multiply<1, 1>, Multiply<1, 2>, Multiply<1, 3>, Multiply<1, 4>};
constexpr MultiplyFn kMultiplyTwo[] = {Multiply<2, 1>, Multiply<2, 2>};

// Up to two tiles of sites from m on, all channels. The rows are split once for all channels.
void AmxSites(const GemmArgs& g, int m, int sites, int height, SplitRows& rows) {
  const float* packed = g.packed + static_cast<int>(g.packed[0]);
  const int columns = CeilDiv(g.n, kTileChannels), steps = CeilDiv(g.k, kTileDepth);
  const bool two = sites > height;
  const int most = two ? 2 : 4;
  Place place = Advance(g, {0, 0}, 0);
  for (int step = 0; step < steps; step += kHeldSteps) {
    const int count = steps - step < kHeldSteps ? steps - step : kHeldSteps;
    place = Stage(g, m, sites, height, place, count, rows);
    for (int column = 0; column < columns; column += most) {
      const int wide = columns - column < most ? columns - column : most, j = column * kTileChannels;
      if (g.ahead != nullptr && step + count == steps) {
        for (int s = 0; s < sites; ++s) {
          for (int c = 0; c < wide; ++c) Prefetch(g.ahead[m + s] + j + c * kTileChannels);
        }
      }
      Stretch s;
      s.rows = &rows;
      s.steps = count;
      s.first = step == 0;
      s.bias = packed + j;
      s.w_stride = static_cast<int64_t>(steps) * kStepFloats;
      s.w = packed + columns * kTileChannels + column * s.w_stride + static_cast<int64_t>(step) * kStepFloats;
      s.out = g.out + m * g.out_stride + j;
      s.out_stride = g.out_stride;
      s.height = height;
      s.sites = sites;
      s.channels = g.n - j;
      (two ? kMultiplyTwo : kMultiplyOne)[wide - 1](s);
    }
  }
}

// The shapes of the tiles belong to the thread, and others in the process may use them, too (onnxruntime's own kernels
// do, and keep in mind what they set). So they are set for each call, and afterwards set back, or given up where there
// were none: the thread then has no tiles to save when it is switched. What was in the tiles is lost, as in any call:
// the calling convention has no preserved ones.
class TileScope {
 public:
  explicit TileScope(int height) {
    AmxConfiguration(&before_);
    TileShapes shapes{};
    shapes.palette = 1;
    for (int t = 0; t < 8; ++t) {
      shapes.row_bytes[t] = kLineBytes;
      shapes.rows[t] =
          static_cast<uint8_t>(t < 6 ? height : kTileDepth / 2);  // 0-3: sums, 4 and 5: sites, 6, 7: weights
    }
    AmxConfigure(shapes);
  }
  ~TileScope() {
    if (before_.palette == 0) {
      AmxRelease();
    } else {
      AmxConfigure(before_);
    }
  }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;

 private:
  TileShapes before_;
};

void AmxGemm(const GemmArgs& g) {
  if (!FillsTiles(g.k, g.n)) return Gemm(g);
  if (g.packed[0] == 0.0f) {
    GemmArgs floats = g;
    ++floats.packed;
    return Gemm(floats);
  }
  if (g.sites <= 0) return;
  // The sites are dealt evenly to the least number of tiles: a product takes as long as its tile of sites is high.
  const int height = CeilDiv(g.sites, CeilDiv(g.sites, kTileSites));
  const TileScope scope(height);
  SplitRows rows;
  for (int m = 0; m < g.sites; m += 2 * height) {
    AmxSites(g, m, g.sites - m < 2 * height ? g.sites - m : 2 * height, height, rows);
  }
}

// The level's table with these functions for the float kernel's. Whatever else reads gemm's packed weights must be
// replaced here too, or be null: the layout is another.
constexpr Kernels WithTiles(Kernels table) {
  table.gemm_packed_floats = AmxPackedFloats;
  table.gemm_pack = AmxPack;
  table.gemm = AmxGemm;
  table.gemm_add = nullptr;
  table.gemm_tile = 2 * kTileSites;
  return table;
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
