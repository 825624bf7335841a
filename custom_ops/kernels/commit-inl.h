// commit: fresh rows against held ones, and the bit map of those that replaced.
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
inline void CommitRun(const CommitArgs& g, Test test, Copy copy) {
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
  if (g.c == kLanes) return CommitRun(g, ExactVecs<1>{}, narrow);
  if (g.c == 2 * kLanes) return CommitRun(g, ExactVecs<2>{}, narrow);
  if (g.c <= 2 * kLanes) return CommitRun(g, ExactNarrow{}, narrow);
  CommitRun(g, ExactWide{}, wide);
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

// Lanes of a comparison's result to bits.
inline uint64_t QuadBits(QuadIndex m) {
#if defined(__SSE2__)
  return static_cast<uint64_t>(_mm_movemask_ps(reinterpret_cast<__m128>(m)));
#else
  return (m[0] & 1u) | (m[1] & 2u) | (m[2] & 4u) | (m[3] & 8u);
#endif
}

// Which of four rows of three replace, by the sums of RmsSmall.
inline uint64_t FourTriplesAbove(const float* fresh, const float* held, Quad limit) {
  Quad q[3];
#pragma GCC unroll 3
  for (int v = 0; v < 3; ++v) {
    const Quad d = LoadQuad(fresh + 4 * v) - LoadQuad(held + 4 * v);
    q[v] = d * d;
  }
  SplitTriple(q[0], q[1], q[2]);
  return QuadBits(~((q[0] + q[2]) + q[1] <= limit));
}

// Writes those of four rows of three whose bits are set.
inline void ReplaceFourTriples(const float* fresh, float* held, uint32_t flags) {
  const QuadIndex bits = {1, 2, 4, 8};
  const QuadIndex all = {static_cast<int32_t>(flags), static_cast<int32_t>(flags), static_cast<int32_t>(flags),
                         static_cast<int32_t>(flags)};
  const QuadIndex m = (all & bits) != 0;
  const QuadIndex rows[3] = {RRM_SHUFFLE(m, m, 0, 0, 0, 1), RRM_SHUFFLE(m, m, 1, 1, 2, 2),
                             RRM_SHUFFLE(m, m, 2, 3, 3, 3)};
#pragma GCC unroll 3
  for (int v = 0; v < 3; ++v) {
    const auto x = reinterpret_cast<QuadIndex>(LoadQuad(fresh + 4 * v));
    const auto y = reinterpret_cast<QuadIndex>(LoadQuad(held + 4 * v));
    StoreQuad(held + 4 * v, reinterpret_cast<Quad>((x & rows[v]) | (y & ~rows[v])));
  }
}

// Rows of three, a picture's. In a live picture some replace nearly everywhere, and no processor guesses which: sixteen
// are written if one of them is.
inline void CommitRmsTriples(const CommitArgs& g) {
  const Quad limit = {g.limit, g.limit, g.limit, g.limit};
  int m = 0;
  for (; m + 16 <= g.sites; m += 16) {
    const float* fresh = g.fresh + static_cast<int64_t>(m) * 3;
    float* held = g.held + static_cast<int64_t>(m) * 3;
    uint64_t flags = 0;
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) flags |= FourTriplesAbove(fresh + 3 * i, held + 3 * i, limit) << i;
    if (flags == 0) continue;
    g.bits[m / 64] |= flags << (m % 64);
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) ReplaceFourTriples(fresh + 3 * i, held + 3 * i, (flags >> i) & 15);
  }
  if (m == g.sites) return;
  const float* fresh = g.fresh + static_cast<int64_t>(m) * 3;
  float* held = g.held + static_cast<int64_t>(m) * 3;
  const uint64_t flags = RowFlags(fresh, held, g.sites - m, 3, RmsSmall<3>{g.limit});
  CopyFlagged(fresh, held, 3, flags);
  g.bits[m / 64] |= flags << (m % 64);
}

// Rows of one float are vectors as they stand.
inline void CommitRmsSingles(const CommitArgs& g) {
  for (int m = 0; m < g.sites; m += kLanes) {
    const int n = g.sites - m < kLanes ? g.sites - m : kLanes;
    const Vec x = LoadN(g.fresh + m, n), y = LoadN(g.held + m, n), d = Sub(x, y);
    const Mask mask = NotLessEqual(Mul(d, d), Set(g.limit));
    const uint64_t flags = Bits(mask) & ((1u << n) - 1);
    if (flags == 0) continue;
    g.bits[m / 64] |= flags << (m % 64);
    StoreN(g.held + m, Select(mask, x, y), n);
  }
}

inline void CommitRms(const CommitArgs& g) {
  if (g.deltas != nullptr) {
    float* to = g.deltas;
    return CommitRun(g, Rms{g.limit}, CopyAndSubtract{&to});
  }
  switch (g.c) {
    case 1:
      return CommitRmsSingles(g);
    case 2:
      return CommitRmsSmall<2>(g);
    case 3:
      return CommitRmsTriples(g);
    case 4:
      return CommitRmsSmall<4>(g);
    default:
      return CommitRun(g, Rms{g.limit}, CopyFlagged);
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

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
