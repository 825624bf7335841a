// Sixteen floats in a register: AVX-512 F, BW, VL, DQ. The same names stand in every vec_*.h; the bodies (*-inl.h) use
// nothing else, so that one body serves all levels. Lengths n of LoadN/StoreN: 0..kLanes; lanes past n are zero on
// load and untouched (never read, never written) on store.
#pragma once

// GCC 12 warns about the deliberately undefined operands inside its own intrinsics, wherever they are inlined.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#include <stdint.h>

#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512VL__) || !defined(__AVX512DQ__)
#error "compile target_avx512.cc with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma"
#endif

namespace rrm {
namespace RRM_LEVEL {
namespace {

using Vec = __m512;
using Mask = __mmask16;

constexpr int kLanes = 16;
constexpr int kRegisters = 32;

inline Mask TailMask(int n) { return static_cast<Mask>((1u << n) - 1u); }

inline Vec Zero() { return _mm512_setzero_ps(); }
inline Vec Set(float x) { return _mm512_set1_ps(x); }
inline Vec Load(const float* p) { return _mm512_loadu_ps(p); }
inline Vec LoadN(const float* p, int n) { return _mm512_maskz_loadu_ps(TailMask(n), p); }
inline void Store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
inline void StoreN(float* p, Vec x, int n) { _mm512_mask_storeu_ps(p, TailMask(n), x); }

// Half a register, for gemm's last channels: half the time where 512-bit operations are executed as two halves.
using Half = __m256;
constexpr int kHalfLanes = 8;

inline Half SetHalf(float x) { return _mm256_set1_ps(x); }
inline Half LowerHalf(Vec x) { return _mm512_castps512_ps256(x); }
inline Half LoadHalf(const float* p) { return _mm256_loadu_ps(p); }
inline void StoreHalf(float* p, Half x) { _mm256_storeu_ps(p, x); }
inline Half Add(Half a, Half b) { return _mm256_add_ps(a, b); }
inline void StoreN(float* p, Half x, int n) { _mm256_mask_storeu_ps(p, static_cast<__mmask8>(TailMask(n)), x); }
inline Half Fma(Half a, Half b, Half c) { return _mm256_fmadd_ps(a, b, c); }

inline Vec Add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec Sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec Mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec Div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec Fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec Sqrt(Vec a) { return _mm512_sqrt_ps(a); }
// a > b ? a : b and a < b ? a : b: with a NaN on either side the result is b.
inline Vec Max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec Min(Vec a, Vec b) { return _mm512_min_ps(a, b); }

inline Vec And(Vec a, Vec b) { return _mm512_and_ps(a, b); }
inline Vec Or(Vec a, Vec b) { return _mm512_or_ps(a, b); }
inline Vec Xor(Vec a, Vec b) { return _mm512_xor_ps(a, b); }
// Integer arithmetic on the bits.
inline Vec AddBits(Vec a, Vec b) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
inline Vec ShiftToExponent(Vec a) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 23)); }
inline Vec ShiftFromExponent(Vec a) { return _mm512_castsi512_ps(_mm512_srli_epi32(_mm512_castps_si512(a), 23)); }

inline Mask Less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline Mask NotLessEqual(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ); }
inline Mask NonZeroBits(Vec a) { return _mm512_test_epi32_mask(_mm512_castps_si512(a), _mm512_castps_si512(a)); }
inline bool AnyBit(Vec a) { return NonZeroBits(a) != 0; }
inline Vec Select(Mask m, Vec yes, Vec no) { return _mm512_mask_blend_ps(m, no, yes); }
// Lane i to bit i.
inline uint32_t Bits(Mask m) { return m; }

// Lanes added pairwise: the upper half onto the lower half until one is left.
inline float Sum(Vec x) {
  const __m256 y = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  const __m128 z = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
  const __m128 s = _mm_add_ps(z, _mm_movehl_ps(z, z));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

// The greatest lane; of NaNs any or none.
inline float MaxLane(Vec x) {
  const __m256 y = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  const __m128 z = _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
  const __m128 s = _mm_max_ps(z, _mm_movehl_ps(z, z));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
