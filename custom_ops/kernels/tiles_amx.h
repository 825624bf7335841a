// The tile registers of AMX, numbered 0 to 7. The tests put a header with the same functions in plain code in its
// place.
//
// GCC's intrinsics do not say which memory they read or write (GCC 12: eight bytes of the shapes, none of a tile), so
// the compiler might drop or move the stores of what they read: each is fenced here.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "tile_shapes.h"

#if !defined(__AMX_TILE__) || !defined(__AMX_BF16__)
#error "compile with -mamx-tile -mamx-bf16"
#endif

namespace rrm {
namespace RRM_LEVEL {
namespace {

// All that was stored before is in memory, and what p points to may have changed.
RRM_ALWAYS_INLINE void Fence(const void* p) { __asm__ volatile("" : : "r"(p) : "memory"); }

RRM_ALWAYS_INLINE void AmxConfigure(const TileShapes& shapes) {
  Fence(&shapes);
  _tile_loadconfig(&shapes);
}

RRM_ALWAYS_INLINE void AmxConfiguration(TileShapes* shapes) {
  Fence(shapes);
  _tile_storeconfig(shapes);
  Fence(shapes);
}

RRM_ALWAYS_INLINE void AmxRelease() { _tile_release(); }

// The intrinsics are macros that paste the number into the instruction's text: it must be a literal.
#define RRM_EACH_TILE(CASE) CASE(0) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)

// Row r of the tile is at p + r * stride bytes.
template <int T>
RRM_ALWAYS_INLINE void AmxLoad(const void* p, int64_t stride) {
  Fence(p);
#define RRM_CASE(t) \
  if constexpr (T == t) _tile_loadd(t, p, stride);
  RRM_EACH_TILE(RRM_CASE)
#undef RRM_CASE
}

template <int T>
RRM_ALWAYS_INLINE void AmxStore(void* p, int64_t stride) {
#define RRM_CASE(t) \
  if constexpr (T == t) _tile_stored(t, p, stride);
  RRM_EACH_TILE(RRM_CASE)
#undef RRM_CASE
  Fence(p);
}

// Tile D += tile A (rows of pairs of bf16) times tile B (row i: the pairs i of all columns). A: 4 or 5, B: 6 or 7.
template <int D, int A, int B>
RRM_ALWAYS_INLINE void AmxMultiply() {
  static_assert((A == 4 || A == 5) && (B == 6 || B == 7) && D < 4);
#define RRM_CASE(d)                                                  \
  if constexpr (D == d && A == 4 && B == 6) _tile_dpbf16ps(d, 4, 6); \
  if constexpr (D == d && A == 4 && B == 7) _tile_dpbf16ps(d, 4, 7); \
  if constexpr (D == d && A == 5 && B == 6) _tile_dpbf16ps(d, 5, 6); \
  if constexpr (D == d && A == 5 && B == 7) _tile_dpbf16ps(d, 5, 7);
  RRM_CASE(0) RRM_CASE(1) RRM_CASE(2) RRM_CASE(3)
#undef RRM_CASE
}

#undef RRM_EACH_TILE

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
