// binary, activate, u8_to_f32, sum_squares: functions of one element (and its channel).
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

// Channel constants narrower than this many vectors are repeated until they fill whole vectors: a row of three
// channels would leave most lanes empty.
constexpr int kPatternVecs = kLanes;

// values[c] repeated until the length is a multiple of kLanes: c vectors, for c < kPatternVecs.
struct Pattern {
  float floats[kPatternVecs * kLanes];
  int length;

  Pattern(const float* values, int c) : length(c * kLanes) {
    for (int i = 0; i < c; ++i) floats[i] = values[i];
    for (int i = c; i < length; ++i) floats[i] = floats[i - c];
  }
};

// One side of an operator: a vector of floats, or one float for all lanes.
struct Wide {
  const float* p;
  Vec At(int64_t i) const { return Load(p + i); }
  Vec AtN(int64_t i, int n) const { return LoadN(p + i, n); }
};
struct Narrow {
  Vec value;
  Vec At(int64_t) const { return value; }
  Vec AtN(int64_t, int) const { return value; }
};

template <class F, class A, class B>
inline void MapSpan(F f, A a, B b, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(out + i, f(a.At(i), b.At(i)));
  if (i < n) {
    const int tail = static_cast<int>(n - i);
    StoreN(out + i, f(a.AtN(i, tail), b.AtN(i, tail)), tail);
  }
}

// As MapSpan with b repeating; a and out are flat, sites * c floats.
template <class F>
inline void MapPattern(F f, const float* a, const float* values, int sites, int c, float* out) {
  const int64_t n = static_cast<int64_t>(sites) * c;
  if (c >= kPatternVecs) {
    for (int m = 0; m < sites; ++m, a += c, out += c) MapSpan(f, Wide{a}, Wide{values}, c, out);
    return;
  }
  const Pattern pattern(values, c);
  for (int64_t i = 0; i < n; i += pattern.length) {
    const int64_t left = n - i < pattern.length ? n - i : pattern.length;
    MapSpan(f, Wide{a + i}, Wide{pattern.floats}, left, out + i);
  }
}

struct AddOp {
  Vec operator()(Vec a, Vec b) const { return Add(a, b); }
};
struct SubOp {
  Vec operator()(Vec a, Vec b) const { return Sub(a, b); }
};
struct MulOp {
  Vec operator()(Vec a, Vec b) const { return Mul(a, b); }
};
struct DivOp {
  Vec operator()(Vec a, Vec b) const { return Div(a, b); }
};
struct MaxOp {
  Vec operator()(Vec a, Vec b) const { return Max(a, b); }
};
struct MinOp {
  Vec operator()(Vec a, Vec b) const { return Min(a, b); }
};
// The C library's power, lane by lane: its special cases are many, the operator is rare.
struct PowOp {
  Vec operator()(Vec a, Vec b) const {
    float x[kLanes], y[kLanes];
    Store(x, a);
    Store(y, b);
    for (int i = 0; i < kLanes; ++i) x[i] = __builtin_powf(x[i], y[i]);
    return Load(x);
  }
};
template <class F>
struct Swapped {
  F f;
  Vec operator()(Vec a, Vec b) const { return f(b, a); }
};

template <class F>
inline void BinaryRow(F f, const BinaryArgs& g, const float* a, const float* b, float* out) {
  if (g.a_wide && g.b_wide) return MapSpan(f, Wide{a}, Wide{b}, g.c, out);
  if (g.a_wide) return MapSpan(f, Wide{a}, Narrow{Set(*b)}, g.c, out);
  if (g.b_wide) return MapSpan(f, Narrow{Set(*a)}, Wide{b}, g.c, out);
  return MapSpan(f, Narrow{Set(*a)}, Narrow{Set(*b)}, g.c, out);
}

// How one side lies in memory when out is flat: like out, one value for all, channel constants, or none of these.
enum class Side { kFlat, kScalar, kChannels, kOther };

inline Side SideOf(bool wide, int64_t stride, int c) {
  const bool is_wide = wide || c == 1;
  if (is_wide && stride == c) return Side::kFlat;
  if (!is_wide || c == 1) return stride == 0 ? Side::kScalar : Side::kOther;
  return stride == 0 ? Side::kChannels : Side::kOther;
}

template <class F>
inline void BinaryAll(F f, const BinaryArgs& g) {
  if (g.out_stride == g.c) {
    const Side a = SideOf(g.a_wide, g.a_stride, g.c);
    const Side b = SideOf(g.b_wide, g.b_stride, g.c);
    const int64_t n = static_cast<int64_t>(g.sites) * g.c;
    if (a == Side::kFlat && b == Side::kFlat) return MapSpan(f, Wide{g.a}, Wide{g.b}, n, g.out);
    if (a == Side::kFlat && b == Side::kScalar) return MapSpan(f, Wide{g.a}, Narrow{Set(*g.b)}, n, g.out);
    if (a == Side::kScalar && b == Side::kFlat) return MapSpan(f, Narrow{Set(*g.a)}, Wide{g.b}, n, g.out);
    if (a == Side::kFlat && b == Side::kChannels) return MapPattern(f, g.a, g.b, g.sites, g.c, g.out);
    if (a == Side::kChannels && b == Side::kFlat) return MapPattern(Swapped<F>{f}, g.b, g.a, g.sites, g.c, g.out);
  }
  const float* a = g.a;
  const float* b = g.b;
  float* out = g.out;
  for (int m = 0; m < g.sites; ++m, a += g.a_stride, b += g.b_stride, out += g.out_stride) BinaryRow(f, g, a, b, out);
}

void Binary(const BinaryArgs& g) {
  if (g.sites <= 0 || g.c <= 0) return;
  switch (g.op) {
    case BinaryOp::kAdd:
      return BinaryAll(AddOp{}, g);
    case BinaryOp::kSub:
      return BinaryAll(SubOp{}, g);
    case BinaryOp::kMul:
      return BinaryAll(MulOp{}, g);
    case BinaryOp::kDiv:
      return BinaryAll(DivOp{}, g);
    case BinaryOp::kMax:
      return BinaryAll(MaxOp{}, g);
    case BinaryOp::kMin:
      return BinaryAll(MinOp{}, g);
    case BinaryOp::kPow:
      return BinaryAll(PowOp{}, g);
  }
}

// f(x) in place over n floats.
template <class F>
inline void Apply(float* x, int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(x + i, f(Load(x + i)));
  if (i < n) {
    const int tail = static_cast<int>(n - i);
    StoreN(x + i, f(LoadN(x + i, tail)), tail);
  }
}

struct PReluOp {
  Vec operator()(Vec x, Vec slope) const { return Select(Less(x, Zero()), Mul(x, slope), x); }
};

void Activate(float* x, int32_t sites, int32_t c, const Activation& act) {
  if (sites <= 0 || c <= 0) return;
  const int64_t n = static_cast<int64_t>(sites) * c;
  const Vec zero = Zero();
  const Vec one = Set(1.0f);
  const Vec a = Set(act.a);
  const Vec b = Set(act.b);
  switch (act.kind) {
    case Act::kNone:
      return;
    // The bound is the first operand: NaN passes.
    case Act::kRelu:
      return Apply(x, n, [=](Vec v) { return Max(zero, v); });
    case Act::kLeakyRelu:
      return Apply(x, n, [=](Vec v) { return Select(Less(v, zero), Mul(v, a), v); });
    case Act::kPRelu:
      return MapPattern(PReluOp{}, x, act.slopes, sites, c, x);
    case Act::kClip:
      return Apply(x, n, [=](Vec v) { return Min(b, Max(a, v)); });
    case Act::kSigmoid:
      return Apply(x, n, [](Vec v) { return Sigmoid(v); });
    case Act::kHardSigmoid:
      return Apply(x, n, [=](Vec v) { return Max(zero, Min(one, Fma(v, a, b))); });
    case Act::kHardSwish:
      return Apply(x, n, [=](Vec v) { return Mul(v, Max(zero, Min(one, Fma(v, a, b)))); });
    case Act::kSilu:
      return Apply(x, n, [](Vec v) { return Silu(v); });
    case Act::kTanh:
      return Apply(x, n, [](Vec v) { return Tanh(v); });
    case Act::kGelu:
      return Apply(x, n, [](Vec v) { return Gelu(v); });
    case Act::kGeluTanh:
      return Apply(x, n, [](Vec v) { return GeluTanh(v); });
    case Act::kElu:
      return Apply(x, n, [=](Vec v) { return Select(Less(v, zero), Mul(a, ExpMinus1(Min(v, zero))), v); });
    case Act::kAbs:
      return Apply(x, n, [](Vec v) { return Abs(v); });
    case Act::kNeg:
      return Apply(x, n, [](Vec v) { return Neg(v); });
    case Act::kExp:
      return Apply(x, n, [](Vec v) { return Exp(v); });
    case Act::kSquare:
      return Apply(x, n, [](Vec v) { return Mul(v, v); });
    case Act::kLog:
      return Apply(x, n, [](Vec v) { return Log(v); });
    case Act::kSqrt:
      return Apply(x, n, [](Vec v) { return Sqrt(v); });
    case Act::kErf:
      return Apply(x, n, [](Vec v) { return Erf(v); });
    case Act::kSoftplus:
      return Apply(x, n, [](Vec v) { return Softplus(v); });
    case Act::kMish:
      return Apply(x, n, [](Vec v) { return Mish(v); });
    case Act::kSign:
      return Apply(x, n, [=](Vec v) {
        const Vec sign = Select(Less(zero, v), one, Select(Less(v, zero), Neg(one), zero));
        return KeepNan(v, sign);
      });
  }
}

double SumSquares(const float* x, int64_t n) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int j = 0; j < 8; ++j) sums[j] += static_cast<double>(x[i + j]) * x[i + j];
  }
  for (; i < n; ++i) sums[0] += static_cast<double>(x[i]) * x[i];
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

void U8ToF32(const uint8_t* x, int64_t n, float* out) {
  typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
  typedef float Floats __attribute__((vector_size(kLanes * 4)));
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Bytes bytes;
    __builtin_memcpy(&bytes, x + i, sizeof(bytes));
    const Floats floats = __builtin_convertvector(bytes, Floats);
    __builtin_memcpy(out + i, &floats, sizeof(floats));
  }
  for (; i < n; ++i) out[i] = static_cast<float>(x[i]);
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
