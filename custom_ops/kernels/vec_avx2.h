// Eight floats in a register: AVX2 and FMA. See vec_avx512.h for the names.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#if !defined(__AVX2__) || !defined(__FMA__)
#error "compile target_avx2.cc with -mavx2 -mfma"
#endif

namespace rrm {
namespace RRM_LEVEL {
namespace {

using Vec = __m256;
using Mask = __m256;

constexpr int kLanes = 8;
constexpr int kRegisters = 16;

// Eight lanes of ones, then eight of zeros: the load at 8 - n has n lanes set.
alignas(64) constexpr int32_t kTailMasks[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
inline __m256i TailMask(int n) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kTailMasks + 8 - n)); }

inline Vec Zero() { return _mm256_setzero_ps(); }
inline Vec Set(float x) { return _mm256_set1_ps(x); }
inline Vec Load(const float* p) { return _mm256_loadu_ps(p); }
inline Vec LoadN(const float* p, int n) { return _mm256_maskload_ps(p, TailMask(n)); }
inline void Store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
// In pieces of 4, 2, 1: a masked store takes tens of cycles on some CPUs.
inline void StoreN(float* p, Vec x, int n) {
  if (n >= 8) return Store(p, x);
  __m128 part = _mm256_castps256_ps128(x);
  if (n & 4) {
    _mm_storeu_ps(p, part);
    part = _mm256_extractf128_ps(x, 1);
    p += 4;
  }
  if (n & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), part);
    part = _mm_movehl_ps(part, part);
    p += 2;
  }
  if (n & 1) _mm_store_ss(p, part);
}

// No half registers here.
using Half = Vec;
constexpr int kHalfLanes = 0;

inline Half SetHalf(float x) { return Set(x); }
inline Half LowerHalf(Vec x) { return x; }
inline Half LoadHalf(const float* p) { return Load(p); }
inline void StoreHalf(float* p, Half x) { Store(p, x); }

inline Vec Add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec Sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec Mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec Div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec Fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec Sqrt(Vec a) { return _mm256_sqrt_ps(a); }
inline Vec Max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec Min(Vec a, Vec b) { return _mm256_min_ps(a, b); }

inline Vec And(Vec a, Vec b) { return _mm256_and_ps(a, b); }
inline Vec Or(Vec a, Vec b) { return _mm256_or_ps(a, b); }
inline Vec Xor(Vec a, Vec b) { return _mm256_xor_ps(a, b); }
inline Vec AddBits(Vec a, Vec b) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
}
inline Vec ShiftToExponent(Vec a) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 23)); }
inline Vec ShiftFromExponent(Vec a) { return _mm256_castsi256_ps(_mm256_srli_epi32(_mm256_castps_si256(a), 23)); }

inline Mask Less(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
inline Mask NotLessEqual(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_NLE_UQ); }
inline Mask NonZeroBits(Vec a) {
  const __m256i zero = _mm256_cmpeq_epi32(_mm256_castps_si256(a), _mm256_setzero_si256());
  return _mm256_castsi256_ps(_mm256_xor_si256(zero, _mm256_set1_epi32(-1)));
}
inline bool AnyBit(Vec a) { return !_mm256_testz_si256(_mm256_castps_si256(a), _mm256_castps_si256(a)); }
inline Vec Select(Mask m, Vec yes, Vec no) { return _mm256_blendv_ps(no, yes, m); }
inline uint32_t Bits(Mask m) { return static_cast<uint32_t>(_mm256_movemask_ps(m)); }

inline float Sum(Vec x) {
  const __m128 z = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 s = _mm_add_ps(z, _mm_movehl_ps(z, z));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

// The greatest lane; of NaNs any or none.
inline float MaxLane(Vec x) {
  const __m128 z = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 s = _mm_max_ps(z, _mm_movehl_ps(z, z));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
