// Four floats in a register, in the vector extensions of GCC and Clang: compiles for any CPU (SSE2 on x86-64). There
// is no fused multiply-add: a*b is rounded, then the sum (-ffp-contract=off keeps it so). See vec_avx512.h.
#pragma once

#include <stdint.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace rrm {
namespace RRM_LEVEL {
namespace {

typedef float Vec __attribute__((vector_size(16)));
typedef int32_t Mask __attribute__((vector_size(16)));

constexpr int kLanes = 4;
constexpr int kRegisters = 16;

inline Mask AsBits(Vec x) { return reinterpret_cast<Mask>(x); }
inline Vec AsFloats(Mask x) { return reinterpret_cast<Vec>(x); }

inline Vec Zero() { return Vec{0, 0, 0, 0}; }
inline Vec Set(float x) { return Vec{x, x, x, x}; }
inline Vec Load(const float* p) {
  Vec x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
inline Vec LoadN(const float* p, int n) {
  switch (n) {
    case 0:
      return Zero();
    case 1:
      return Vec{p[0], 0, 0, 0};
    case 2:
      return Vec{p[0], p[1], 0, 0};
    case 3:
      return Vec{p[0], p[1], p[2], 0};
    default:
      return Load(p);
  }
}
inline void Store(float* p, Vec x) { __builtin_memcpy(p, &x, sizeof(x)); }
inline void StoreN(float* p, Vec x, int n) {
  if (n >= 4) return Store(p, x);
  for (int i = 0; i < n; ++i) p[i] = x[i];
}

// No half registers here.
using Half = Vec;
constexpr int kHalfLanes = 0;

inline Half SetHalf(float x) { return Set(x); }
inline Half LowerHalf(Vec x) { return x; }
inline Half LoadHalf(const float* p) { return Load(p); }
inline void StoreHalf(float* p, Half x) { Store(p, x); }

inline Vec Add(Vec a, Vec b) { return a + b; }
inline Vec Sub(Vec a, Vec b) { return a - b; }
inline Vec Mul(Vec a, Vec b) { return a * b; }
inline Vec Div(Vec a, Vec b) { return a / b; }
inline Vec Fma(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec Sqrt(Vec a) {
#if defined(__SSE2__)
  return _mm_sqrt_ps(a);
#else
  return Vec{__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])};
#endif
}
inline Vec And(Vec a, Vec b) { return AsFloats(AsBits(a) & AsBits(b)); }
inline Vec Or(Vec a, Vec b) { return AsFloats(AsBits(a) | AsBits(b)); }
inline Vec Xor(Vec a, Vec b) { return AsFloats(AsBits(a) ^ AsBits(b)); }
inline Vec AddBits(Vec a, Vec b) {
  typedef uint32_t Unsigned __attribute__((vector_size(16)));
  return reinterpret_cast<Vec>(reinterpret_cast<Unsigned>(a) + reinterpret_cast<Unsigned>(b));
}
inline Vec ShiftToExponent(Vec a) {
  typedef uint32_t Unsigned __attribute__((vector_size(16)));
  return reinterpret_cast<Vec>(reinterpret_cast<Unsigned>(a) << 23);
}
inline Vec ShiftFromExponent(Vec a) {
  typedef uint32_t Unsigned __attribute__((vector_size(16)));
  return reinterpret_cast<Vec>(reinterpret_cast<Unsigned>(a) >> 23);
}

inline Mask Less(Vec a, Vec b) { return a < b; }
inline Mask NotLessEqual(Vec a, Vec b) { return ~(a <= b); }
inline Mask NonZeroBits(Vec a) { return AsBits(a) != 0; }
inline Vec Select(Mask m, Vec yes, Vec no) { return AsFloats((AsBits(yes) & m) | (AsBits(no) & ~m)); }
inline Vec Max(Vec a, Vec b) {
#if defined(__SSE2__)
  return _mm_max_ps(a, b);
#else
  return Select(a > b, a, b);
#endif
}
inline Vec Min(Vec a, Vec b) {
#if defined(__SSE2__)
  return _mm_min_ps(a, b);
#else
  return Select(a < b, a, b);
#endif
}
inline uint32_t Bits(Mask m) {
#if defined(__SSE2__)
  return static_cast<uint32_t>(_mm_movemask_ps(AsFloats(m)));
#else
  return (m[0] & 1u) | (m[1] & 2u) | (m[2] & 4u) | (m[3] & 8u);
#endif
}
inline bool AnyBit(Vec a) {
#if defined(__SSE2__)
  return Bits(NonZeroBits(a)) != 0;
#else
  typedef uint64_t Halves __attribute__((vector_size(16)));
  const Halves h = reinterpret_cast<Halves>(a);
  return (h[0] | h[1]) != 0;
#endif
}

inline float Sum(Vec x) { return (x[0] + x[2]) + (x[1] + x[3]); }

// The greatest lane; of NaNs any or none.
inline float MaxLane(Vec x) {
  const float a = x[0] > x[2] ? x[0] : x[2];
  const float b = x[1] > x[3] ? x[1] : x[3];
  return a > b ? a : b;
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
