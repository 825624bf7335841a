// commit and commit_planar: fresh rows against held ones, and the bit map of those that replaced.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

inline int64_t CountBits(const uint64_t* bits, int sites) {
  int64_t count = 0;
  for (int w = 0; w < (sites + 63) / 64; ++w) count += __builtin_popcountll(bits[w]);
  return count;
}

inline void SetFirstBits(uint64_t* bits, int sites) {
  for (int w = 0; w < (sites + 63) / 64; ++w) bits[w] = ~uint64_t{0};
  if (sites % 64 != 0) bits[sites / 64] = (uint64_t{1} << (sites % 64)) - 1;
}

inline void CopyRow(const float* from, int c, float* to) {
  int j = 0;
  for (; j + kLanes <= c; j += kLanes) Store(to + j, Load(from + j));
  if (j < c) StoreN(to + j, LoadN(from + j, c - j), c - j);
}

// Whether a row of up to two vectors differs: no branch, the data would decide it.
struct ExactNarrow {
  bool operator()(const float* fresh, const float* held, int c) const {
    const int n = c < kLanes ? c : kLanes;
    Vec differ = Xor(LoadN(fresh, n), LoadN(held, n));
    if (c > kLanes) differ = Or(differ, Xor(LoadN(fresh + n, c - n), LoadN(held + n, c - n)));
    return AnyBit(differ);
  }
};

// The same for rows of exactly one or two vectors: loads without a mask, which wait for no store to be done.
template <int V>
struct ExactVecs {
  bool operator()(const float* fresh, const float* held, int) const {
    Vec differ = Xor(Load(fresh), Load(held));
    for (int v = 1; v < V; ++v) differ = Or(differ, Xor(Load(fresh + v * kLanes), Load(held + v * kLanes)));
    return AnyBit(differ);
  }
};

// Any width, up to the first difference, four vectors at a time.
struct ExactWide {
  bool operator()(const float* fresh, const float* held, int c) const {
    int j = 0;
    for (; j + 4 * kLanes <= c; j += 4 * kLanes) {
      Vec differ = Xor(Load(fresh + j), Load(held + j));
      for (int v = 1; v < 4; ++v) differ = Or(differ, Xor(Load(fresh + j + v * kLanes), Load(held + j + v * kLanes)));
      if (AnyBit(differ)) return true;
    }
    Vec differ = Zero();
    for (; j < c; j += kLanes) {
      const int n = c - j < kLanes ? c - j : kLanes;
      differ = Or(differ, Xor(LoadN(fresh + j, n), LoadN(held + j, n)));
    }
    return AnyBit(differ);
  }
};

// Whether the sum of squares passes the limit (NaN does).
struct Rms {
  float limit;
  bool operator()(const float* fresh, const float* held, int c) const {
    Vec acc = Zero();
    int j = 0;
    for (; j + kLanes <= c; j += kLanes) {
      const Vec d = Sub(Load(fresh + j), Load(held + j));
      acc = Fma(d, d, acc);
    }
    if (j < c) {
      const Vec d = Sub(LoadN(fresh + j, c - j), LoadN(held + j, c - j));
      acc = Fma(d, d, acc);
    }
    return !(Sum(acc) <= limit);
  }
};

// The same sum for rows of C <= 4 floats: one square a lane, added in the order of Sum (the other lanes are zero).
template <int C>
struct RmsSmall {
  float limit;
  bool operator()(const float* fresh, const float* held, int) const {
    float q[4] = {};
    for (int j = 0; j < C; ++j) q[j] = (fresh[j] - held[j]) * (fresh[j] - held[j]);
    return !((q[0] + q[2]) + (q[1] + q[3]) <= limit);
  }
};

// Bit i: row i, i < rows <= 64, replaces.
template <class Test>
inline uint64_t RowFlags(const float* fresh, const float* held, int rows, int c, Test test) {
  uint64_t flags = 0;
  for (int i = 0; i < rows; ++i, fresh += c, held += c) flags |= static_cast<uint64_t>(test(fresh, held, c)) << i;
  return flags;
}

// Copies the flagged rows, each run of neighbours as one span.
inline void CopyFlagged(const float* fresh, float* held, int c, uint64_t flags) {
  int row = 0;
  while (flags != 0) {
    const int skip = __builtin_ctzll(flags);
    flags >>= skip;
    row += skip;
    const int run = ~flags == 0 ? 64 : __builtin_ctzll(~flags);
    CopyRow(fresh + row * c, run * c, held + row * c);
    flags = run == 64 ? 0 : flags >> run;
    row += run;
  }
}

// All rows from the first flagged one to the last: those between them are equal, bit for bit, so that a copy changes
// nothing, and a long copy is cheaper than a search for the ends of runs.
inline void CopyAcross(const float* fresh, float* held, int c, uint64_t flags) {
  if (flags == 0) return;
  const int first = __builtin_ctzll(flags);
  const int last = 63 - __builtin_clzll(flags);
  CopyRow(fresh + first * c, (last + 1 - first) * c, held + first * c);
}

// As CopyFlagged, and what the rows change by goes to `to`, one row after the other.
struct CopyAndSubtract {
  float** to;
  void operator()(const float* fresh, float* held, int c, uint64_t flags) const {
    for (; flags != 0; flags &= flags - 1, *to += c) {
      const int64_t row = static_cast<int64_t>(__builtin_ctzll(flags)) * c;
      int j = 0;
      for (; j + kLanes <= c; j += kLanes) {
        const Vec x = Load(fresh + row + j);
        Store(*to + j, Sub(x, Load(held + row + j)));
        Store(held + row + j, x);
      }
      if (j == c) continue;
      const Vec x = LoadN(fresh + row + j, c - j);
      StoreN(*to + j, Sub(x, LoadN(held + row + j, c - j)), c - j);
      StoreN(held + row + j, x, c - j);
    }
  }
};

template <class Test, class Copy>
inline void CommitRows(const CommitArgs& g, Test test, Copy copy) {
  for (int m = 0; m < g.sites; m += 64) {
    const float* fresh = g.fresh + static_cast<int64_t>(m) * g.c;
    float* held = g.held + static_cast<int64_t>(m) * g.c;
    const uint64_t flags = RowFlags(fresh, held, g.sites - m < 64 ? g.sites - m : 64, g.c, test);
    g.bits[m / 64] = flags;
    copy(fresh, held, g.c, flags);
  }
}

// Bit i of the result: any of bits i * C .. i * C + C - 1.
template <int C>
inline uint64_t AnyOfEach(uint64_t bits) {
  uint64_t flags = 0;
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    flags |= static_cast<uint64_t>(((bits >> (C * i)) & ((1u << C) - 1)) != 0) << i;
  }
  return flags;
}

// Rows of C <= 4 floats: kLanes rows are C whole vectors.
template <int C>
inline void CommitExactSmall(const CommitArgs& g) {
  static_assert(C * kLanes <= 64, "the lanes' flags fill one word");
  int m = 0;
  for (; m + kLanes <= g.sites; m += kLanes) {
    const float* fresh = g.fresh + static_cast<int64_t>(m) * C;
    float* held = g.held + static_cast<int64_t>(m) * C;
    uint64_t differ = 0;
    Vec x[C];
#pragma GCC unroll 4
    for (int v = 0; v < C; ++v) {
      x[v] = Load(fresh + v * kLanes);
      differ |= static_cast<uint64_t>(Bits(NonZeroBits(Xor(x[v], Load(held + v * kLanes))))) << (v * kLanes);
    }
    if (differ == 0) continue;
#pragma GCC unroll 4
    for (int v = 0; v < C; ++v) Store(held + v * kLanes, x[v]);
    g.bits[m / 64] |= (C == 1 ? differ : AnyOfEach<C>(differ)) << (m % 64);
  }
  if (m == g.sites) return;
  const float* fresh = g.fresh + static_cast<int64_t>(m) * C;
  float* held = g.held + static_cast<int64_t>(m) * C;
  const uint64_t flags = RowFlags(fresh, held, g.sites - m, C, ExactNarrow{});
  CopyFlagged(fresh, held, C, flags);
  g.bits[m / 64] |= flags << (m % 64);
}

// Rows of any width, by the test that suits it.
template <class Copy>
inline void CommitExactRows(const CommitArgs& g, Copy narrow, Copy wide) {
  if (g.c == kLanes) return CommitRows(g, ExactVecs<1>{}, narrow);
  if (g.c == 2 * kLanes) return CommitRows(g, ExactVecs<2>{}, narrow);
  if (g.c <= 2 * kLanes) return CommitRows(g, ExactNarrow{}, narrow);
  CommitRows(g, ExactWide{}, wide);
}

inline void CommitExact(const CommitArgs& g) {
  if (g.deltas != nullptr) {
    float* to = g.deltas;
    return CommitExactRows(g, CopyAndSubtract{&to}, CopyAndSubtract{&to});
  }
  switch (g.c) {
    case 1:
      return CommitExactSmall<1>(g);
    case 2:
      return CommitExactSmall<2>(g);
    case 3:
      return CommitExactSmall<3>(g);
    case 4:
      return CommitExactSmall<4>(g);
    default:
      return CommitExactRows(g, CopyAcross, CopyFlagged);
  }
}

// Rows of C <= 4 floats: kLanes rows are C whole vectors. Where each square is below its share of the limit, no row can
// pass it; only other rows are looked at one by one. (The share is a little less than 1 / C: sums round.)
template <int C>
inline void CommitRmsSmall(const CommitArgs& g) {
  const RmsSmall<C> test{g.limit};
  const Vec share = Set(g.limit * (0.9999f / C));
  for (int m = 0; m < g.sites; m += kLanes) {
    const float* fresh = g.fresh + static_cast<int64_t>(m) * C;
    float* held = g.held + static_cast<int64_t>(m) * C;
    const int rows = g.sites - m < kLanes ? g.sites - m : kLanes;
    if (rows == kLanes) {
      uint32_t above = 0;
#pragma GCC unroll 4
      for (int v = 0; v < C; ++v) {
        const Vec d = Sub(Load(fresh + v * kLanes), Load(held + v * kLanes));
        above |= Bits(NotLessEqual(Mul(d, d), share));
      }
      if (above == 0) continue;
    }
    const uint64_t flags = RowFlags(fresh, held, rows, C, test);
    CopyFlagged(fresh, held, C, flags);
    g.bits[m / 64] |= flags << (m % 64);
  }
}

inline void CommitRms(const CommitArgs& g) {
  if (g.deltas != nullptr) {
    float* to = g.deltas;
    return CommitRows(g, Rms{g.limit}, CopyAndSubtract{&to});
  }
  switch (g.c) {
    case 1:
      return CommitRmsSmall<1>(g);
    case 2:
      return CommitRmsSmall<2>(g);
    case 3:
      return CommitRmsSmall<3>(g);
    case 4:
      return CommitRmsSmall<4>(g);
    default:
      return CommitRows(g, Rms{g.limit}, CopyFlagged);
  }
}

int64_t Commit(const CommitArgs& g) {
  if (g.sites <= 0) return 0;
  if (g.gate == Gate::kAll) {
    __builtin_memcpy(g.held, g.fresh, static_cast<size_t>(g.sites) * static_cast<size_t>(g.c) * sizeof(float));
    SetFirstBits(g.bits, g.sites);
    return g.sites;
  }
  for (int w = 0; w < (g.sites + 63) / 64; ++w) g.bits[w] = 0;
  if (g.gate == Gate::kExact) {
    CommitExact(g);
  } else {
    CommitRms(g);
  }
  return CountBits(g.bits, g.sites);
}

// Which of the n sites at m replace; lanes from n on say nothing.
template <Gate kGate>
RRM_ALWAYS_INLINE Mask PlanarMask(const CommitPlanarArgs& g, int m, int n) {
  const float* x = g.x + m;
  const float* y = g.planar + m;
  Vec acc = Zero();
  for (int j = 0; j < g.c; ++j, x += g.plane, y += g.planar_plane) {
    if (kGate == Gate::kExact) {
      acc = Or(acc, Xor(LoadN(x, n), LoadN(y, n)));
    } else {
      const Vec d = Sub(LoadN(x, n), LoadN(y, n));
      acc = Fma(d, d, acc);
    }
  }
  return kGate == Gate::kExact ? NonZeroBits(acc) : NotLessEqual(acc, Set(g.limit));
}

// Three planes to rows of three: four sites are three quads.
inline void JoinTriples(const float* x, int64_t plane, int sites, float* rows) {
  int m = 0;
  for (; m + 4 <= sites; m += 4) {
    const Quad a = LoadQuad(x + m);
    const Quad b = LoadQuad(x + plane + m);
    const Quad c = LoadQuad(x + 2 * plane + m);
    const Quad ab = RRM_SHUFFLE(a, b, 0, 4, 1, 5);   // a0 b0 a1 b1
    const Quad ab2 = RRM_SHUFFLE(a, b, 2, 6, 3, 7);  // a2 b2 a3 b3
    StoreQuad(rows + 3 * m, RRM_SHUFFLE(ab, c, 0, 1, 4, 2));
    const Quad bc = RRM_SHUFFLE(ab, c, 3, 5, 3, 5);  // b1 c1
    StoreQuad(rows + 3 * m + 4, RRM_SHUFFLE(bc, ab2, 0, 1, 4, 5));
    const Quad ca = RRM_SHUFFLE(ab2, c, 6, 2, 3, 7);  // c2 a3 b3 c3
    StoreQuad(rows + 3 * m + 8, ca);
  }
  for (; m < sites; ++m) {
    for (int j = 0; j < 3; ++j) rows[3 * m + j] = x[j * plane + m];
  }
}

// The held rows of the n sites at m, from the planes that hold the same.
inline void RowsFromPlanes(const CommitPlanarArgs& g, int m, int n) {
  const float* planar = g.planar + m;
  float* held = g.held + static_cast<int64_t>(m) * g.c;
  if (g.c == 1) {
    StoreN(held, LoadN(planar, n), n);
  } else if (g.c == 3) {
    JoinTriples(planar, g.planar_plane, n, held);
  } else {
    TransposeBlocks(planar, g.planar_plane, g.c, n, held, g.c);
  }
}

inline void ReplaceSite(const CommitPlanarArgs& g, int m) {
  float* held = g.held + static_cast<int64_t>(m) * g.c;
  for (int j = 0; j < g.c; ++j) {
    const float x = g.x[j * g.plane + m];
    g.planar[j * g.planar_plane + m] = x;
    held[j] = x;
  }
}

// Few channels, where some sites replace and some do not: all n of them are written. That is quicker than to look for
// those that do, and the others get what they hold.
constexpr int kFewChannels = 4;
// Pictures come from memory, and the processor's own prefetching does not keep up with several planes.
constexpr int kFloatsAhead = 512;

template <Gate kGate>
void CommitPlanes(const CommitPlanarArgs& g) {
  for (int m = 0; m < g.sites; m += kLanes) {
    const int n = g.sites - m < kLanes ? g.sites - m : kLanes;
    for (int j = 0; j < g.c; ++j) {  // of the last rows too: a prefetch of what is not there does nothing
      Prefetch(g.x + j * g.plane + m + kFloatsAhead);
      Prefetch(g.planar + j * g.planar_plane + m + kFloatsAhead);
    }
    const Mask mask = PlanarMask<kGate>(g, m, n);
    uint32_t flags = Bits(mask) & ((1u << n) - 1);
    if (flags == 0) continue;
    g.bits[m / 64] |= static_cast<uint64_t>(flags) << (m % 64);
    if (g.c > kFewChannels && flags != (1u << n) - 1) {
      for (; flags != 0; flags &= flags - 1) ReplaceSite(g, m + __builtin_ctz(flags));
      continue;
    }
    for (int j = 0; j < g.c; ++j) {
      float* planar = g.planar + j * g.planar_plane + m;
      StoreN(planar, Select(mask, LoadN(g.x + j * g.plane + m, n), LoadN(planar, n)), n);
    }
    RowsFromPlanes(g, m, n);
  }
}

int64_t CommitPlanar(const CommitPlanarArgs& g) {
  if (g.sites <= 0) return 0;
  for (int w = 0; w < (g.sites + 63) / 64; ++w) g.bits[w] = 0;
  if (g.gate == Gate::kExact) {
    CommitPlanes<Gate::kExact>(g);
  } else if (g.gate == Gate::kRms) {
    CommitPlanes<Gate::kRms>(g);
  } else {
    for (int j = 0; j < g.c; ++j) {
      __builtin_memcpy(g.planar + j * g.planar_plane, g.x + j * g.plane, static_cast<size_t>(g.sites) * sizeof(float));
    }
    for (int m = 0; m < g.sites; m += kLanes) RowsFromPlanes(g, m, g.sites - m < kLanes ? g.sites - m : kLanes);
    SetFirstBits(g.bits, g.sites);
  }
  return CountBits(g.bits, g.sites);
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
