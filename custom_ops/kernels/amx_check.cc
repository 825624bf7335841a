// The self-test of a level that multiplies by parts (gemm_amx-inl.h): a small product with every kind of rest (sites,
// channels, pieces of odd lengths), against the same sums in plain code. An emulator or a processor whose tiles do
// something else must never give wrong answers: dispatch.cc leaves the level out then.
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "levels.h"

#define RRM_LEVEL amx_check
#include "split-inl.h"

namespace rrm {
namespace {

constexpr int kSites = 35, kDepth = 70, kChannels = 72;  // three tiles of sites, three steps of k, five of channels
constexpr int32_t kLens[] = {33, 1, 36};
constexpr int kPieces = 3;
constexpr int64_t kPackedFloats = 16 * 1024;

struct Numbers {
  uint32_t state = 1;
  uint32_t Next() { return (state = state * 1664525u + 1013904223u) >> 8; }  // 24 bits
  // Integers: with both parts in many of them, but sums of products that a float holds exactly.
  void Fill(float* x, int n, bool integers) {
    for (int i = 0; i < n; ++i) {
      const float next = static_cast<float>(integers ? Next() % 1001 : Next());
      x[i] = integers ? next - 500.0f : next / 8388608.0f - 1.0f;
    }
  }
};

struct Product {
  float x[kSites][kDepth], w[kDepth][kChannels], bias[kChannels];
  float out[kSites][kChannels];
  float packed[kPackedFloats];

  void Run(const Kernels& k, int first, int sites) {
    const float* rows[kPieces][kSites];
    for (int m = 0; m < sites; ++m) {
      const float* row = x[first + m];
      for (int p = 0; p < kPieces; row += kLens[p++]) rows[p][m] = row;
    }
    GemmArgs g{};
    g.rows = rows[0];
    g.rows_stride = kSites;
    g.lens = kLens;
    g.pieces = kPieces;
    g.sites = sites;
    g.packed = packed;
    g.k = kDepth;
    g.n = kChannels;
    g.out = out[first];
    g.out_stride = kChannels;
    k.gemm(g);
  }

  // Whether each output is the sum of the three products of parts, in double, but for `roundings` of its terms.
  bool Right(double roundings) const {
    for (int m = 0; m < kSites; ++m) {
      for (int j = 0; j < kChannels; ++j) {
        double sum = bias[j], size = fabs(sum);
        for (int i = 0; i < kDepth; ++i) {
          uint16_t a[2], b[2];
          amx_check::Split(x[m][i], a, a + 1);
          amx_check::Split(w[i][j], b, b + 1);
          const double a_hi = amx_check::Widen(a[0]), a_lo = amx_check::Widen(a[1]);
          const double b_hi = amx_check::Widen(b[0]), b_lo = amx_check::Widen(b[1]);
          sum += a_lo * b_hi + a_hi * b_hi + a_hi * b_lo;
          size += fabs(a_lo * b_hi) + fabs(a_hi * b_hi) + fabs(a_hi * b_lo);
        }
        if (!(fabs(out[m][j] - sum) <= roundings * size * 0x1p-24)) return false;
      }
    }
    return true;
  }
};

}  // namespace

bool multiplies_right(const Kernels& k) {
  if (k.gemm_packed_floats(kDepth, kChannels) > kPackedFloats) return false;
  Numbers numbers;
  Product p;
  for (int round = 0; round < 2; ++round) {
    numbers.Fill(p.x[0], kSites * kDepth, round == 0);
    numbers.Fill(p.w[0], kDepth * kChannels, round == 0);
    numbers.Fill(p.bias, kChannels, round == 0);
    k.gemm_pack(p.w[0], kDepth, kChannels, p.bias, p.packed);
    p.Run(k, 0, kSites);
    // Integers: no rounding anywhere, in whatever order. Fractions: three products a value, and the bias.
    if (!p.Right(round == 0 ? 0.0 : 3.0 * kDepth + 2.0)) return false;
  }
  // A site's bits are the same alone and among others.
  float before[kSites][kChannels];
  memcpy(before, p.out, sizeof before);
  for (int m = 0; m < kSites; m += 11) p.Run(k, m, 1);
  p.Run(k, 3, 17);
  return memcmp(before, p.out, sizeof before) == 0;
}

}  // namespace rrm
