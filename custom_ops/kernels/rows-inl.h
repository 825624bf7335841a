// softmax, layer_norm, lrn, arg_max: functions of a row's channels. In softmax narrow rows are turned into planes
// first, so that every lane is a site of its own.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

// Rows below this go by planes: there the two transpositions cost less than lanes that stay empty and sums over lanes.
constexpr int kNarrow = 2 * kLanes;

// Sites per pass. Rows and planes are written and read in pieces of different width: a processor that waits until such
// stores are done has them behind it by then.
constexpr int kNarrowSites = 4 * kLanes;

// kLanes sites at the planes' vector p, planes kNarrowSites apart, in place.
template <bool kLog>
inline void SoftmaxLanes(float* p, int c) {
  Vec max = Load(p);
  for (int j = 1; j < c; ++j) max = Max(max, Load(p + j * kNarrowSites));
  Vec sum = Zero();
  for (int j = 0; j < c; ++j) {
    const Vec x = Sub(Load(p + j * kNarrowSites), max);
    const Vec e = Exp(x);
    Store(p + j * kNarrowSites, kLog ? x : e);
    sum = Add(sum, e);
  }
  const Vec last = kLog ? Log(sum) : Div(Set(1.0f), sum);
  for (int j = 0; j < c; ++j) {
    const Vec x = Load(p + j * kNarrowSites);
    Store(p + j * kNarrowSites, kLog ? Sub(x, last) : Mul(x, last));
  }
}

template <bool kLog>
inline void SoftmaxNarrow(const RowArgs& g) {
  float planes[kNarrow * kNarrowSites];
  for (int m = 0; m < g.sites; m += kNarrowSites) {
    const int n = g.sites - m < kNarrowSites ? g.sites - m : kNarrowSites;
    const int vecs = (n + kLanes - 1) / kLanes;
    if (n % kLanes != 0) {  // the lanes past the last site
      for (int j = 0; j < g.c; ++j) Store(planes + j * kNarrowSites + (vecs - 1) * kLanes, Zero());
    }
    TransposeBlocks(g.rows + m * g.row_stride, g.row_stride, n, g.c, planes, kNarrowSites);
    for (int v = 0; v < vecs; ++v) SoftmaxLanes<kLog>(planes + v * kLanes, g.c);
    TransposeBlocks(planes, kNarrowSites, g.c, n, g.out + static_cast<int64_t>(m) * g.c, g.c);
  }
}

// A row of at least one vector.
template <bool kLog>
inline void SoftmaxRow(const float* x, int c, float* out) {
  const int tail = c % kLanes, whole = c - tail;
  Vec top = Load(x + c - kLanes);  // overlaps the others, which a maximum does not mind
  for (int j = 0; j < whole; j += kLanes) top = Max(top, Load(x + j));
  const Vec max = Set(MaxLane(top));
  Vec acc = Zero();
  for (int j = 0; j < whole; j += kLanes) {
    const Vec e = Exp(Sub(Load(x + j), max));
    Store(out + j, e);
    acc = Add(acc, e);
  }
  if (tail != 0) {
    StoreN(out + whole, Exp(Sub(LoadN(x + whole, tail), max)), tail);
    acc = Add(acc, LoadN(out + whole, tail));
  }
  const Vec sum = Set(Sum(acc));
  if (kLog) {
    const Vec log = Log(sum);
    MapSpan([=](Vec v, Vec) { return Sub(Sub(v, max), log); }, Wide{x}, Narrow{log}, c, out);
  } else {
    MapSpan(MulOp{}, Wide{out}, Narrow{Div(Set(1.0f), sum)}, c, out);
  }
}

template <bool kLog>
inline void SoftmaxAll(const RowArgs& g) {
  if (g.c < kNarrow) return SoftmaxNarrow<kLog>(g);
  for (int m = 0; m < g.sites; ++m)
    SoftmaxRow<kLog>(g.rows + m * g.row_stride, g.c, g.out + static_cast<int64_t>(m) * g.c);
}

void Softmax(const RowArgs& g, bool log) {
  if (g.sites <= 0 || g.c <= 0) return;
  return log ? SoftmaxAll<true>(g) : SoftmaxAll<false>(g);
}

// One row, by lanes.
inline void LayerNormRow(const float* x, int c, const float* scale, const float* bias, float epsilon, float* out) {
  const int tail = c % kLanes, whole = c - tail;
  Vec acc = Zero();
  for (int j = 0; j < whole; j += kLanes) acc = Add(acc, Load(x + j));
  if (tail != 0) acc = Add(acc, LoadN(x + whole, tail));
  const Vec mean = Set(Sum(acc) / static_cast<float>(c));
  acc = Zero();
  for (int j = 0; j < whole; j += kLanes) {
    const Vec d = Sub(Load(x + j), mean);
    Store(out + j, d);
    acc = Fma(d, d, acc);
  }
  if (tail != 0) {
    StoreN(out + whole, Sub(LoadN(x + whole, tail), mean), tail);
    const Vec d = LoadN(out + whole, tail);
    acc = Fma(d, d, acc);
  }
  const Vec variance = Set(Sum(acc) / static_cast<float>(c) + epsilon);
  const Vec factor = Div(Set(1.0f), Sqrt(variance));
  for (int j = 0; j < whole; j += kLanes) {
    Store(out + j, Fma(Mul(Load(out + j), factor), Load(scale + j), Load(bias + j)));
  }
  if (tail != 0) {
    const Vec y = Mul(LoadN(out + whole, tail), factor);
    StoreN(out + whole, Fma(y, LoadN(scale + whole, tail), LoadN(bias + whole, tail)), tail);
  }
}

void LayerNorm(const RowArgs& g, const float* scale, const float* bias, float epsilon) {
  for (int m = 0; m < g.sites; ++m) {
    LayerNormRow(g.rows + m * g.row_stride, g.c, scale, bias, epsilon, g.out + static_cast<int64_t>(m) * g.c);
  }
}

// x / s^beta; the usual powers by square roots.
struct OverAny {
  Vec beta;
  Vec operator()(Vec x, Vec s) const { return Div(x, PowOp{}(s, beta)); }
};
struct OverThreeQuarters {
  Vec operator()(Vec x, Vec s) const {
    const Vec root = Sqrt(s);
    return Div(x, Mul(root, Sqrt(root)));
  }
};
struct OverRoot {
  Vec operator()(Vec x, Vec s) const { return Div(x, Sqrt(s)); }
};

// Outputs at a time: their squares, and those around them, lie in a buffer with zeros past the row's ends.
constexpr int kLrnChunk = 256;

template <class Over>
inline void LrnChunk(const float* x, int c, int first, int n, const LrnParameters& p, Over over, float* out) {
  float squares[kLrnChunk + kMostLrn - 1];
  const int lowest = first - (p.size - 1) / 2, count = n + p.size - 1;
  const int begin = lowest < 0 ? 0 : lowest, end = lowest + count < c ? lowest + count : c;
  for (int i = 0; i < begin - lowest; ++i) squares[i] = 0.0f;
  MapSpan(MulOp{}, Wide{x + begin}, Wide{x + begin}, end - begin, squares + begin - lowest);
  for (int i = end - lowest; i < count; ++i) squares[i] = 0.0f;
  const Vec factor = Set(p.alpha / static_cast<float>(p.size));
  const Vec bias = Set(p.bias);
  for (int i = 0; i < n; i += kLanes) {
    const int lanes = n - i < kLanes ? n - i : kLanes;
    Vec sum = LoadN(squares + i, lanes);
    for (int t = 1; t < p.size; ++t) sum = Add(sum, LoadN(squares + i + t, lanes));
    StoreN(out + first + i, over(LoadN(x + first + i, lanes), Fma(sum, factor, bias)), lanes);
  }
}

template <class Over>
inline void LrnRows(const RowArgs& g, const LrnParameters& p, Over over) {
  for (int m = 0; m < g.sites; ++m) {
    const float* x = g.rows + m * g.row_stride;
    for (int j = 0; j < g.c; j += kLrnChunk) {
      const int n = g.c - j < kLrnChunk ? g.c - j : kLrnChunk;
      LrnChunk(x, g.c, j, n, p, over, g.out + static_cast<int64_t>(m) * g.c);
    }
  }
}

void Lrn(const RowArgs& g, const LrnParameters& p) {
  if (p.beta == 0.75f) return LrnRows(g, p, OverThreeQuarters{});
  if (p.beta == 0.5f) return LrnRows(g, p, OverRoot{});
  return LrnRows(g, p, OverAny{Set(p.beta)});
}

// The greatest so far of kLanes sites and their numbers, brought up to date with n planes, the first of which is
// `first`.
template <bool kLast>
inline void ArgMaxLanes(const float* planes, int n, int first, float* greatest, float* numbers) {
  Vec best = Load(greatest), at = Load(numbers);
  for (int j = 0; j < n; ++j) {
    const Vec x = Load(planes + j * kNarrowSites);
    const Vec here = Set(static_cast<float>(first + j));
    if (kLast) {
      const Mask keep = Less(x, best);
      best = Select(keep, best, x);
      at = Select(keep, at, here);
    } else {
      const Mask take = Less(best, x);
      best = Select(take, x, best);
      at = Select(take, here, at);
    }
  }
  Store(greatest, best);
  Store(numbers, at);
}

// By planes for rows of any width, kNarrow channels at a time.
template <bool kLast>
inline void ArgMaxAll(const RowArgs& g) {
  float planes[kNarrow * kNarrowSites] = {};
  float greatest[kNarrowSites], numbers[kNarrowSites];
  for (int m = 0; m < g.sites; m += kNarrowSites) {
    const int n = g.sites - m < kNarrowSites ? g.sites - m : kNarrowSites;
    for (int i = 0; i < kNarrowSites; ++i) {
      greatest[i] = i < n ? g.rows[(m + i) * g.row_stride] : 0.0f;
      numbers[i] = 0.0f;
    }
    for (int j = 0; j < g.c; j += kNarrow) {
      const int channels = g.c - j < kNarrow ? g.c - j : kNarrow;
      TransposeBlocks(g.rows + m * g.row_stride + j, g.row_stride, n, channels, planes, kNarrowSites);
      for (int i = 0; i < n; i += kLanes) ArgMaxLanes<kLast>(planes + i, channels, j, greatest + i, numbers + i);
    }
    __builtin_memcpy(g.out + m, numbers, static_cast<size_t>(n) * sizeof(float));
  }
}

void ArgMax(const RowArgs& g, bool last) {
  if (g.sites <= 0 || g.c <= 0) return;
  return last ? ArgMaxAll<true>(g) : ArgMaxAll<false>(g);
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
