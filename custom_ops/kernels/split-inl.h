// A float as the sum of two bf16 numbers (the upper 16 bits of a float), hi + lo. What is lost is at most 2^-17 of it.
//
// Denormals count as zero here, as in the products behind (AMX flushes them, whatever MXCSR says): a float below 2^-126
// is lost, and so is a lo part below 2^-126, which only floats below 2^-102 can have: a loss of less than 2^-126 of
// the value, where float arithmetic with flushed denormals loses as much in every sum. Not finite: lo is zero, as
// inf - inf would turn an infinity into NaN. Finite stays finite: what would round to infinity becomes the largest
// bf16, and lo the rest.
#pragma once

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif
#include <stdint.h>
#include <string.h>

namespace rrm {
namespace RRM_LEVEL {
namespace {

constexpr uint32_t kInfBits = 0x7f800000u;

inline bool IsFinite(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return (bits & kInfBits) != kInfBits;
}

inline float Widen(uint16_t bf16) {
  const uint32_t bits = static_cast<uint32_t>(bf16) << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// To the nearest, ties to even.
inline uint16_t RoundToBf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t upper = bits >> 16;
  if ((bits & kInfBits) == 0) return static_cast<uint16_t>(upper & 0x8000u);
  if ((bits & kInfBits) == kInfBits) return static_cast<uint16_t>(upper | ((bits & 0x7fffffu) != 0 ? 0x40u : 0u));
  const uint32_t rounded = (bits + 0x7fffu + (upper & 1u)) >> 16;
  return static_cast<uint16_t>((rounded & 0x7fffu) == 0x7f80u ? rounded - 1 : rounded);
}

inline void Split(float x, uint16_t* hi, uint16_t* lo) {
  *hi = RoundToBf16(x);
  *lo = IsFinite(x) ? RoundToBf16(x - Widen(*hi)) : uint16_t{0};
}

// Values of k in one row of a tile.
constexpr int kTileDepth = 32;

inline bool SplitEach(const float* x, uint16_t* hi, uint16_t* lo) {
  bool finite = true;
  for (int i = 0; i < kTileDepth; ++i) {
    Split(x[i], hi + i, lo + i);
    finite &= IsFinite(x[i]);
  }
  return finite;
}

// kTileDepth floats; hi and lo are aligned to 64 bytes. Returns whether all are finite.
#if defined(__AVX512BF16__)
// The instruction rounds as RoundToBf16 does, but for what it rounds to infinity.
inline bool SplitRow(const float* x, uint16_t* hi, uint16_t* lo) {
  const __m512 lower = _mm512_loadu_ps(x), upper = _mm512_loadu_ps(x + 16);
  const __m512i high = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(upper, lower));
  const __m512i inf = _mm512_set1_epi16(0x7f80);
  // Infinity or NaN after rounding: all exponent bits are set.
  if (_mm512_cmpeq_epi16_mask(_mm512_and_si512(high, inf), inf) != 0) return SplitEach(x, hi, lo);
  const __m512i lower_bits = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(high)), 16);
  const __m512i upper_bits = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(high, 1)), 16);
  const __m512 lower_rest = _mm512_sub_ps(lower, _mm512_castsi512_ps(lower_bits));
  const __m512 upper_rest = _mm512_sub_ps(upper, _mm512_castsi512_ps(upper_bits));
  _mm512_store_si512(hi, high);
  _mm512_store_si512(lo, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(upper_rest, lower_rest)));
  return true;
}
#else
inline bool SplitRow(const float* x, uint16_t* hi, uint16_t* lo) { return SplitEach(x, hi, lo); }
#endif

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
