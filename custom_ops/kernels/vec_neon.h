// Four floats in a register: AArch64 Advanced SIMD. See vec_avx512.h for the names.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

namespace rrm {
namespace RRM_LEVEL {
namespace {

using Vec = float32x4_t;
using Mask = uint32x4_t;

constexpr int kLanes = 4;
constexpr int kRegisters = 32;

inline Mask AsBits(Vec x) { return vreinterpretq_u32_f32(x); }
inline Vec AsFloats(Mask x) { return vreinterpretq_f32_u32(x); }

inline Vec Zero() { return vdupq_n_f32(0.0f); }
inline Vec Set(float x) { return vdupq_n_f32(x); }
inline Vec Load(const float* p) { return vld1q_f32(p); }
inline Vec LoadN(const float* p, int n) {
  if (n >= 4) return Load(p);
  Vec x = Zero();
  if (n > 0) x = vld1q_lane_f32(p, x, 0);
  if (n > 1) x = vld1q_lane_f32(p + 1, x, 1);
  if (n > 2) x = vld1q_lane_f32(p + 2, x, 2);
  return x;
}
inline void Store(float* p, Vec x) { vst1q_f32(p, x); }
inline void StoreN(float* p, Vec x, int n) {
  if (n >= 4) return Store(p, x);
  if (n > 0) vst1q_lane_f32(p, x, 0);
  if (n > 1) vst1q_lane_f32(p + 1, x, 1);
  if (n > 2) vst1q_lane_f32(p + 2, x, 2);
}

// No half registers here.
using Half = Vec;
constexpr int kHalfLanes = 0;

inline Half SetHalf(float x) { return Set(x); }
inline Half LowerHalf(Vec x) { return x; }
inline Half LoadHalf(const float* p) { return Load(p); }
inline void StoreHalf(float* p, Half x) { Store(p, x); }

inline Vec Add(Vec a, Vec b) { return vaddq_f32(a, b); }
inline Vec Sub(Vec a, Vec b) { return vsubq_f32(a, b); }
inline Vec Mul(Vec a, Vec b) { return vmulq_f32(a, b); }
inline Vec Div(Vec a, Vec b) { return vdivq_f32(a, b); }
inline Vec Fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
inline Vec Sqrt(Vec a) { return vsqrtq_f32(a); }
// Compare and select: FMAX and FMIN treat NaN otherwise than the contract says.
inline Vec Max(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline Vec Min(Vec a, Vec b) { return vbslq_f32(vcltq_f32(a, b), a, b); }

inline Vec And(Vec a, Vec b) { return AsFloats(vandq_u32(AsBits(a), AsBits(b))); }
inline Vec Or(Vec a, Vec b) { return AsFloats(vorrq_u32(AsBits(a), AsBits(b))); }
inline Vec Xor(Vec a, Vec b) { return AsFloats(veorq_u32(AsBits(a), AsBits(b))); }
inline Vec AddBits(Vec a, Vec b) { return AsFloats(vaddq_u32(AsBits(a), AsBits(b))); }
inline Vec ShiftToExponent(Vec a) { return AsFloats(vshlq_n_u32(AsBits(a), 23)); }
inline Vec ShiftFromExponent(Vec a) { return AsFloats(vshrq_n_u32(AsBits(a), 23)); }

inline Mask Less(Vec a, Vec b) { return vcltq_f32(a, b); }
inline Mask NotLessEqual(Vec a, Vec b) { return vmvnq_u32(vcleq_f32(a, b)); }
inline Mask NonZeroBits(Vec a) { return vtstq_u32(AsBits(a), AsBits(a)); }
inline bool AnyBit(Vec a) { return vmaxvq_u32(AsBits(a)) != 0; }
inline Vec Select(Mask m, Vec yes, Vec no) { return vbslq_f32(m, yes, no); }
inline uint32_t Bits(Mask m) {
  const uint32_t weights[4] = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(m, vld1q_u32(weights)));
}

inline float Sum(Vec x) {
  const float32x2_t s = vadd_f32(vget_low_f32(x), vget_high_f32(x));
  return vget_lane_f32(s, 0) + vget_lane_f32(s, 1);
}

// The greatest lane; of NaNs any or none.
inline float MaxLane(Vec x) { return vmaxvq_f32(x); }

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
