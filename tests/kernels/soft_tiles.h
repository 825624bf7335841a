// The tile registers of AMX in plain code: the instructions' documented meaning, for machines that have none. Whatever
// the processor would answer with an exception ends the process here.
#pragma once

#include <stdint.h>
#include <string.h>

#include "tile_shapes.h"

namespace soft {

// What a tile instruction may get wrong, for tests of the self-test: 0 is nothing.
enum Fault { kNone, kLoseOddValues, kLoseRows, kRoundSums, kDependOnRow, kForgetSums };

extern int fault;

inline void Require(bool holds) {
  if (!holds) __builtin_trap();
}

inline float Float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

inline uint32_t Bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

// Denormals count as zero.
inline float Flush(float x) { return (Bits(x) & 0x7f800000u) == 0 ? Float(Bits(x) & 0x80000000u) : x; }

struct Tiles {
  rrm::TileShapes shapes{};
  uint8_t rows[8][16][64]{};

  void Configure(const rrm::TileShapes& next) {
    Require(next.palette <= 1);
    for (uint8_t byte : next.reserved) Require(next.palette == 0 || byte == 0);
    for (int t = 0; t < 16 && next.palette == 1; ++t) {
      const bool used = next.rows[t] != 0;
      Require(used == (next.row_bytes[t] != 0) && (!used || t < 8));
      Require(next.rows[t] <= 16 && next.row_bytes[t] <= 64);
    }
    shapes = next.palette == 0 ? rrm::TileShapes{} : next;
    memset(rows, 0, sizeof rows);
  }

  bool InUse(int t) const { return shapes.palette == 1 && shapes.rows[t] > 0; }

  void Load(int t, const char* p, int64_t stride) {
    Require(InUse(t));
    memset(rows[t], 0, sizeof rows[t]);
    for (int r = 0; r < shapes.rows[t]; ++r) memcpy(rows[t][r], p + r * stride, shapes.row_bytes[t]);
  }

  void Store(int t, char* p, int64_t stride) const {
    Require(InUse(t));
    for (int r = 0; r < shapes.rows[t]; ++r) memcpy(p + r * stride, rows[t][r], shapes.row_bytes[t]);
  }

  // TDPBF16PS. The even and the odd values of k are summed apart, from zero, each by fused multiply-adds; the two sums
  // are added, then added to the tile. In double a product is exact, and a sum of two numbers of at most 24 bits that
  // is rounded to double and then to float is what rounding once gives: so this is the fused result.
  void Multiply(int d, int a, int b) {
    Require(d != a && d != b && a != b && InUse(d) && InUse(a) && InUse(b));
    const int pairs = shapes.row_bytes[a] / 4, columns = shapes.row_bytes[d] / 4;
    Require(shapes.rows[a] == shapes.rows[d] && shapes.rows[b] == pairs && shapes.row_bytes[b] == 4 * columns);
    for (int m = 0; m < shapes.rows[d]; ++m) {
      if (fault == kLoseRows && m >= 8) break;
      for (int n = 0; n < columns; ++n) {
        float sums[2] = {0.0f, 0.0f};
        for (int k = 0; k < pairs; ++k) {
          for (int odd = 0; odd < (fault == kLoseOddValues ? 1 : 2); ++odd) {
            const double product = static_cast<double>(Value(a, m, 2 * k + odd)) * Value(b, k, 2 * n + odd);
            sums[odd] = Flush(static_cast<float>(sums[odd] + product));
          }
        }
        float sum;
        memcpy(&sum, &rows[d][m][4 * n], sizeof sum);
        if (fault == kForgetSums) sum = 0.0f;
        sum = Flush(Flush(sum) + Flush(sums[0] + sums[1]));
        if (fault == kRoundSums) sum = Float(Bits(sum) & ~0x1fffu);
        // No more than a rounding, and none where nothing is rounded.
        const bool whole = sum == static_cast<float>(static_cast<int64_t>(sum));
        if (fault == kDependOnRow && m % 2 == 1 && !whole) sum = Float(Bits(sum) ^ 1u);
        memcpy(&rows[d][m][4 * n], &sum, sizeof sum);
      }
    }
  }

 private:
  float Value(int t, int row, int i) const {
    uint16_t value;
    memcpy(&value, &rows[t][row][2 * i], sizeof value);
    return Flush(Float(static_cast<uint32_t>(value) << 16));
  }
};

// Each thread has its own.
Tiles& tiles();

}  // namespace soft
