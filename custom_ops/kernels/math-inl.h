// Elementary functions on vectors. The polynomials are minimax fits (Lawson's iteration on Chebyshev points, in 40
// digits) on the intervals stated; errors are those of the fit, rounding adds an ulp or two.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

inline Vec SetBits(int32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof(x));
  return Set(x);
}
inline Vec SignBit() { return Set(-0.0f); }
inline Vec Neg(Vec x) { return Xor(x, SignBit()); }
inline Vec Abs(Vec x) { return And(x, SetBits(0x7fffffff)); }
// x where x is NaN, else y.
inline Vec KeepNan(Vec x, Vec y) { return Select(NotLessEqual(x, Set(__builtin_inff())), x, y); }

// The factor x of functions x * f(x) whose f vanishes at -inf: without the bound a huge x would outrun f's floor.
inline Vec AtLeast(float low, Vec x) { return Max(Set(low), x); }

// exp(x) = 2^n * (1 + r + r^2 q(r)), |r| <= ln2 / 2.
struct ExpParts {
  Vec n_bits;  // n in the low bits (two's complement), for ShiftToExponent
  Vec n;
  Vec tail;  // r + r^2 q(r) = exp(r) - 1
};

// x within about +-2^21: rounding to the nearest integer by adding 1.5 * 2^23.
inline ExpParts SplitExp(Vec x) {
  const Vec magic = Set(12582912.0f);
  const Vec t = Fma(x, Set(1.44269504f), magic);
  const Vec n = Sub(t, magic);
  // ln2 in two pieces; the first has few bits, so that n times it is exact without a fused multiply-add, too.
  Vec r = Fma(n, Set(-0.693359375f), x);
  r = Fma(n, Set(2.12194440e-4f), r);
  // |error| 3.3e-9 relative to exp(r), |r| <= 0.35
  Vec q = Set(0.0013813145f);
  q = Fma(q, r, Set(0.008369419f));
  q = Fma(q, r, Set(0.041668456f));
  q = Fma(q, r, Set(0.16666515f));
  q = Fma(q, r, Set(0.49999994f));
  return {t, n, Fma(Mul(r, r), q, r)};
}

// exp for |x| <= 87 (clamped there; NaN stays NaN): what the saturating functions need.
inline Vec ExpClamped(Vec x) {
  x = Min(Set(87.0f), Max(Set(-87.0f), x));
  const ExpParts e = SplitExp(x);
  const Vec one = Set(1.0f);
  const Vec scale = AddBits(ShiftToExponent(e.n_bits), one);
  return Fma(scale, e.tail, scale);
}

// exp(x) - 1 for x <= 0, without loss near zero.
inline Vec ExpMinus1(Vec x) {
  x = Max(Set(-87.0f), x);
  const ExpParts e = SplitExp(x);
  const Vec one = Set(1.0f);
  const Vec scale = AddBits(ShiftToExponent(e.n_bits), one);
  return Fma(scale, e.tail, Sub(scale, one));
}

// The whole range: hi and lo are the last floats inside ln(FLT_MAX), ln(FLT_MIN); +inf above, 0 below (no denormals).
inline Vec Exp(Vec x) {
  const Vec hi = Set(88.7228317f);
  const Vec lo = Set(-87.3365402f);
  const ExpParts e = SplitExp(Min(hi, Max(lo, x)));
  // n is added to the exponent instead of multiplied in: 2^128 is no float, though the product may be one.
  Vec y = AddBits(Add(e.tail, Set(1.0f)), ShiftToExponent(e.n_bits));
  y = Select(Less(hi, x), Set(__builtin_inff()), y);
  y = Select(Less(x, lo), Zero(), y);
  return KeepNan(x, y);
}

// x = 2^n m, sqrt(1/2) <= m < sqrt 2; f = m - 1, exact. log m = 2 atanh(s) = f - s (f - 2 s^2 P(s^2)), s = f / (2 + f):
// in the last form what rounding does to s counts a sixth at most. |error| of P 1.1e-9 relative to atanh(s).
// Denormals count as zero, as they do for the rest of a converted model: -inf. NaN below zero.
inline Vec Log(Vec x) {
  const Vec low = Set(0.707106769f);
  const Vec t = AddBits(x, SetBits(0x3f800000 - 0x3f3504f3));  // carries into the exponent from sqrt(1/2) on
  const Vec n = Sub(Or(ShiftFromExponent(t), Set(8388608.0f)), Set(8388608.0f + 127.0f));
  const Vec f = Sub(AddBits(And(t, SetBits(0x007fffff)), low), Set(1.0f));
  const Vec s = Div(f, Add(f, Set(2.0f)));
  const Vec z = Mul(s, s);
  Vec p = Set(0.14948915f);
  p = Fma(p, z, Set(0.19988324f));
  p = Fma(p, z, Set(0.3333339f));
  const Vec rest = Sub(Mul(Add(z, z), p), f);
  // ln2 in the two pieces of SplitExp
  const Vec m = Add(Fma(s, rest, Mul(n, Set(-2.12194440e-4f))), f);
  Vec y = Fma(n, Set(0.693359375f), m);
  y = Select(Less(Set(3.402823466e38f), x), x, y);
  y = Select(Less(x, Set(1.17549435e-38f)), Set(-__builtin_inff()), y);
  y = Select(Less(Set(-1.17549435e-38f), x), y, Set(__builtin_nanf("")));
  return y;
}

inline Vec Sigmoid(Vec x) {
  const Vec one = Set(1.0f);
  return Div(one, Add(one, ExpClamped(Neg(x))));
}

// |x| < 0.625: x + x^3 P(x^2), |error| 4.8e-9 relative; else 1 - 2 / (exp(2|x|) + 1) with the sign of x.
inline Vec Tanh(Vec x) {
  const Vec a = Abs(x);
  const Vec s = Mul(x, x);
  Vec p = Set(-0.005666977f);
  p = Fma(p, s, Set(0.020606177f));
  p = Fma(p, s, Set(-0.053730007f));
  p = Fma(p, s, Set(0.13331331f));
  p = Fma(p, s, Set(-0.33333278f));
  const Vec small = Fma(Mul(p, s), x, x);
  const Vec one = Set(1.0f);
  const Vec e = ExpClamped(Add(a, a));
  const Vec large = Sub(one, Div(Set(2.0f), Add(e, one)));
  return Select(Less(a, Set(0.625f)), small, Or(large, And(x, SignBit())));
}

// |x| < 1: x P(x^2), |error| 1.2e-9 relative; else 1 - exp(Q(|x|)), Q fitted to log(erfc) on [1, 4]; erfc(4) = 1.5e-8.
inline Vec Erf(Vec x) {
  const Vec a = Abs(x);
  const Vec s = Mul(x, x);
  Vec p = Set(7.8538615e-05f);
  p = Fma(p, s, Set(-0.00080101937f));
  p = Fma(p, s, Set(0.0051883277f));
  p = Fma(p, s, Set(-0.026853813f));
  p = Fma(p, s, Set(0.112835854f));
  p = Fma(p, s, Set(-0.37612626f));
  p = Fma(p, s, Set(1.1283791f));
  const Vec b = Min(Set(4.0f), a);
  Vec q = Set(0.0001863794f);
  q = Fma(q, b, Set(-0.0029476604f));
  q = Fma(q, b, Set(0.021838073f));
  q = Fma(q, b, Set(-0.103106774f));
  q = Fma(q, b, Set(-0.6381448f));
  q = Fma(q, b, Set(-1.1270891f));
  q = Fma(q, b, Set(-0.00034152053f));
  const Vec large = Sub(Set(1.0f), ExpClamped(q));
  return Select(Less(a, Set(1.0f)), Mul(p, x), Or(large, And(x, SignBit())));
}

// log(1 + exp(x)) = max(x, 0) + log1p(u), u = exp(-|x|); log1p(u) = 2 atanh(s), s = u / (2 + u) <= 1/3.
// atanh(s) = s + s^3 P(s^2), |error| 1.2e-10 relative.
inline Vec Softplus(Vec x) {
  const Vec u = ExpClamped(Neg(Abs(x)));
  const Vec s = Div(u, Add(u, Set(2.0f)));
  const Vec z = Mul(s, s);
  Vec p = Set(0.1217795f);
  p = Fma(p, z, Set(0.10707245f));
  p = Fma(p, z, Set(0.14308976f));
  p = Fma(p, z, Set(0.19999422f));
  p = Fma(p, z, Set(0.33333337f));
  const Vec log1p = Mul(Set(2.0f), Fma(Mul(p, z), s, s));
  return Add(Max(Zero(), x), log1p);
}

// x tanh(log(1 + e)) = x (e^2 + 2e) / (e^2 + 2e + 2), e = exp(x); past 20 the quotient is 1.
inline Vec Mish(Vec x) {
  const Vec e = ExpClamped(Min(Set(20.0f), x));
  const Vec w = Mul(e, Add(e, Set(2.0f)));
  return Mul(AtLeast(-87.0f, x), Div(w, Add(w, Set(2.0f))));
}

inline Vec Silu(Vec x) { return Mul(AtLeast(-87.0f, x), Sigmoid(x)); }

// 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
inline Vec GeluTanh(Vec x) {
  const Vec u = Mul(x, Fma(Mul(x, x), Set(0.071354814f), Set(1.59576912f)));
  return Mul(AtLeast(-87.0f, x), Sigmoid(u));
}

inline Vec Gelu(Vec x) {
  const Vec half = Mul(Set(0.5f), AtLeast(-87.0f, x));
  return Mul(half, Add(Set(1.0f), Erf(Mul(x, Set(0.707106781f)))));
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
