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

// Up to two vectors: stored whether or not they differ (equal bits again), since a store is cheaper than a branch that
// the data decides.
struct ExactNarrow {
  bool operator()(const float* fresh, float* held, int c) const {
    const int n = c < kLanes ? c : kLanes;
    const Vec a = LoadN(fresh, n);
    Vec diff = Xor(a, LoadN(held, n));
    StoreN(held, a, n);
    if (c > kLanes) {
      const Vec b = LoadN(fresh + kLanes, c - kLanes);
      diff = Or(diff, Xor(b, LoadN(held + kLanes, c - kLanes)));
      StoreN(held + kLanes, b, c - kLanes);
    }
    return AnyBit(diff);
  }
};

// Looks for the first difference, four vectors at a time; what is before it need not be copied.
struct ExactWide {
  bool operator()(const float* fresh, float* held, int c) const {
    int j = 0;
    for (; j + 4 * kLanes <= c; j += 4 * kLanes) {
      Vec diff = Xor(Load(fresh + j), Load(held + j));
      for (int v = 1; v < 4; ++v) diff = Or(diff, Xor(Load(fresh + j + v * kLanes), Load(held + j + v * kLanes)));
      if (AnyBit(diff)) return CopyRow(fresh + j, c - j, held + j), true;
    }
    for (; j < c; j += kLanes) {
      const int n = c - j < kLanes ? c - j : kLanes;
      if (AnyBit(Xor(LoadN(fresh + j, n), LoadN(held + j, n)))) return CopyRow(fresh + j, c - j, held + j), true;
    }
    return false;
  }
};

struct Rms {
  float limit;
  bool operator()(const float* fresh, float* held, int c) const {
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
    if (Sum(acc) <= limit) return false;
    CopyRow(fresh, c, held);
    return true;
  }
};

// Rows from `first` on (a multiple of 64 or inside a word whose lower bits are set already).
template <class Replace>
inline void CommitRows(const CommitArgs& g, int first, Replace replace) {
  const float* fresh = g.fresh + static_cast<int64_t>(first) * g.c;
  float* held = g.held + static_cast<int64_t>(first) * g.c;
  for (int m = first; m < g.sites;) {
    const int end = g.sites < (m / 64 + 1) * 64 ? g.sites : (m / 64 + 1) * 64;
    uint64_t word = g.bits[m / 64];
    for (; m < end; ++m, fresh += g.c, held += g.c) {
      word |= static_cast<uint64_t>(replace(fresh, held, g.c)) << (m % 64);
    }
    g.bits[(m - 1) / 64] = word;
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
  CommitRows(g, m, ExactNarrow{});
}

inline void CommitExact(const CommitArgs& g) {
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
      return g.c <= 2 * kLanes ? CommitRows(g, 0, ExactNarrow{}) : CommitRows(g, 0, ExactWide{});
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
    CommitRows(g, 0, Rms{g.limit});
  }
  return CountBits(g.bits, g.sites);
}

// Lanes of the n sites at m that replace.
inline uint32_t PlanarFlags(const CommitPlanarArgs& g, int m, int n) {
  const float* x = g.x + m;
  const float* y = g.planar + m;
  const uint32_t lanes = n < 32 ? (1u << n) - 1 : ~0u;
  if (g.gate == Gate::kAll) return lanes;
  Vec acc = Zero();
  if (g.gate == Gate::kExact) {
    for (int j = 0; j < g.c; ++j, x += g.plane, y += g.planar_plane) acc = Or(acc, Xor(LoadN(x, n), LoadN(y, n)));
    return Bits(NonZeroBits(acc));
  }
  for (int j = 0; j < g.c; ++j, x += g.plane, y += g.planar_plane) {
    const Vec d = Sub(LoadN(x, n), LoadN(y, n));
    acc = Fma(d, d, acc);
  }
  return Bits(NotLessEqual(acc, Set(g.limit))) & lanes;
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

// All n sites at m replace.
inline void ReplaceBlock(const CommitPlanarArgs& g, int m, int n) {
  const float* x = g.x + m;
  float* planar = g.planar + m;
  for (int j = 0; j < g.c; ++j) StoreN(planar + j * g.planar_plane, LoadN(x + j * g.plane, n), n);
  float* held = g.held + static_cast<int64_t>(m) * g.c;
  if (g.c == 1) {
    StoreN(held, LoadN(x, n), n);
  } else if (g.c == 3) {
    JoinTriples(x, g.plane, n, held);
  } else {
    TransposeBlocks(x, g.plane, g.c, n, held, g.c);
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

int64_t CommitPlanar(const CommitPlanarArgs& g) {
  if (g.sites <= 0) return 0;
  for (int w = 0; w < (g.sites + 63) / 64; ++w) g.bits[w] = 0;
  for (int m = 0; m < g.sites; m += kLanes) {
    const int n = g.sites - m < kLanes ? g.sites - m : kLanes;
    uint32_t flags = PlanarFlags(g, m, n);
    if (flags == 0) continue;
    g.bits[m / 64] |= static_cast<uint64_t>(flags) << (m % 64);
    if (flags == (1u << n) - 1) {
      ReplaceBlock(g, m, n);
      continue;
    }
    for (; flags != 0; flags &= flags - 1) ReplaceSite(g, m + __builtin_ctz(flags));
  }
  return CountBits(g.bits, g.sites);
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
