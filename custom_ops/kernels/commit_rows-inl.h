// commit_rows: fresh rows against held ones that lie apart.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

// Rows of so many registers are compared and written without a loop.
constexpr int kCommitVecs = kRegisters == 32 ? 8 : 4;

// A row of V registers, the last one with n floats.
template <int V>
struct FewVecs {
  Vec x[V];
  RRM_ALWAYS_INLINE FewVecs(const float* row, int n) {
#pragma GCC unroll 8
    for (int v = 0; v + 1 < V; ++v) x[v] = Load(row + v * kLanes);
    x[V - 1] = n == kLanes ? Load(row + (V - 1) * kLanes) : LoadN(row + (V - 1) * kLanes, n);
  }
  RRM_ALWAYS_INLINE void Write(float* row, int n) const {
#pragma GCC unroll 8
    for (int v = 0; v + 1 < V; ++v) Store(row + v * kLanes, x[v]);
    if (n == kLanes) {
      Store(row + (V - 1) * kLanes, x[V - 1]);
    } else {
      StoreN(row + (V - 1) * kLanes, x[V - 1], n);
    }
  }
};

// The sums of Rms, the differences of ExactNarrow.
template <int V, bool kIsRms>
RRM_ALWAYS_INLINE bool Differs(const FewVecs<V>& fresh, const FewVecs<V>& held, float limit) {
  Vec acc = Zero();
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) {
    if (kIsRms) {
      const Vec d = Sub(fresh.x[v], held.x[v]);
      acc = Fma(d, d, acc);
    } else {
      acc = Or(acc, Xor(fresh.x[v], held.x[v]));
    }
  }
  return kIsRms ? !(Sum(acc) <= limit) : AnyBit(acc);
}

// Which rows replace, no processor foresees: nothing branches on a single one, and none is written before all of 64
// have been looked at, for a load waits for stores whose place depends on what came before.
template <int V, bool kIsRms, bool kWhole>
void CommitFew(const CommitRowsArgs& g) {
  const int n = kWhole ? kLanes : g.c - (V - 1) * kLanes;
  for (int m = 0; m < g.sites; m += 64) {
    const float* const rows = g.fresh + static_cast<int64_t>(m) * g.c;
    float* const* const held = g.held + m;
    const int sites = g.sites - m < 64 ? g.sites - m : 64;
    uint64_t flags = 0;
    for (int i = 0; i < sites; ++i) {
      const bool replaces = Differs<V, kIsRms>(FewVecs<V>(rows + i * g.c, n), FewVecs<V>(held[i], n), g.limit);
      flags |= static_cast<uint64_t>(replaces) << i;
    }
    g.bits[m / 64] = flags;
    for (; flags != 0; flags &= flags - 1) {
      const int i = __builtin_ctzll(flags);
      FewVecs<V>(rows + i * g.c, n).Write(held[i], n);
    }
  }
}

// Longer rows, one by one.
template <class Test>
void CommitMany(const CommitRowsArgs& g, Test test) {
  const float* row = g.fresh;
  for (int m = 0; m < g.sites; ++m, row += g.c) {
    if (!test(row, g.held[m], g.c)) continue;
    CopyRow(row, g.c, g.held[m]);
    g.bits[m / 64] |= uint64_t{1} << (m % 64);
  }
}

using CommitFewFn = void (*)(const CommitRowsArgs&);

// The rest of the table repeats the last that a level has.
template <int V, bool kIsRms, bool kWhole>
constexpr CommitFewFn CappedFew() {
  return CommitFew<(V < kCommitVecs ? V : kCommitVecs), kIsRms, kWhole>;
}

template <bool kIsRms, bool kWhole>
constexpr CommitFewFn kCommitFew[8] = {
    CappedFew<1, kIsRms, kWhole>(), CappedFew<2, kIsRms, kWhole>(), CappedFew<3, kIsRms, kWhole>(),
    CappedFew<4, kIsRms, kWhole>(), CappedFew<5, kIsRms, kWhole>(), CappedFew<6, kIsRms, kWhole>(),
    CappedFew<7, kIsRms, kWhole>(), CappedFew<8, kIsRms, kWhole>(),
};

int64_t CommitRows(const CommitRowsArgs& g) {
  if (g.sites <= 0) return 0;
  const int vecs = (g.c + kLanes - 1) / kLanes;
  for (int w = 0; w < (g.sites + 63) / 64; ++w) g.bits[w] = 0;
  if (vecs > kCommitVecs) {
    g.gate == Gate::kRms ? CommitMany(g, Rms{g.limit}) : CommitMany(g, ExactWide{});
  } else if (g.c % kLanes == 0) {
    (g.gate == Gate::kRms ? kCommitFew<true, true> : kCommitFew<false, true>)[vecs - 1](g);
  } else {
    (g.gate == Gate::kRms ? kCommitFew<true, false> : kCommitFew<false, false>)[vecs - 1](g);
  }
  return CountBits(g.bits, g.sites);
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
