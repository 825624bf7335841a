// The functions of kernels/tiles_amx.h in plain code.
#pragma once

#include "soft_tiles.h"

namespace rrm {
namespace RRM_LEVEL {
namespace {

inline void AmxConfigure(const TileShapes& shapes) { soft::tiles().Configure(shapes); }
inline void AmxConfiguration(TileShapes* shapes) { *shapes = soft::tiles().shapes; }
inline void AmxRelease() { soft::tiles().Configure({}); }

template <int T>
void AmxLoad(const void* p, int64_t stride) {
  soft::tiles().Load(T, static_cast<const char*>(p), stride);
}

template <int T>
void AmxStore(void* p, int64_t stride) {
  soft::tiles().Store(T, static_cast<char*>(p), stride);
}

template <int D, int A, int B>
void AmxMultiply() {
  soft::tiles().Multiply(D, A, B);
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
