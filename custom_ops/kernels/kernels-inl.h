// The bodies, in order of use, and the table made of them. A target_*.cc defines RRM_LEVEL, includes its vec_*.h, then
// this file: everything here lands in the unnamed namespace of rrm::RRM_LEVEL, so that no code compiled for one level
// can be taken by the linker for another.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "table.h"

// For bodies whose arrays of accumulators become registers only where they are inlined and unrolled.
#define RRM_ALWAYS_INLINE inline __attribute__((always_inline))

// In this order: each uses what stands above it.
// clang-format off
#include "math-inl.h"
#include "elementwise-inl.h"
#include "layout-inl.h"
#include "window-inl.h"
#include "run-inl.h"
#include "depthwise-inl.h"
#include "commit-inl.h"
#include "commit_rows-inl.h"
#include "commit_planar-inl.h"
#include "gemm-inl.h"
#include "gemm_add-inl.h"
#include "rows-inl.h"
// clang-format on

namespace rrm {
namespace RRM_LEVEL {
namespace {

constexpr Kernels MakeTable(const char* name) {
  return {
      .name = name,
      .gemm_packed_floats = GemmPackedFloats,
      .gemm_pack = GemmPack,
      .gemm = Gemm,
      .gemm_add = GemmAdd,
      .gemm_tile = kGemmTile,
      .depthwise = Depthwise,
      .depthwise_run = DepthwiseRun,
      .window_max = WindowMax,
      .window_max_run = WindowMaxRun,
      .window_weighted = WindowWeighted,
      .binary = Binary,
      .activate = Activate,
      .softmax = Softmax,
      .layer_norm = LayerNorm,
      .lrn = Lrn,
      .arg_max = ArgMax,
      .commit = Commit,
      .commit_rows = CommitRows,
      .commit_planar = CommitPlanar,
      .to_planar = ToPlanar,
      .gather_channels = GatherChannels,
      .row_sum = RowSum,
      .row_max = RowMax,
      .sum_squares = SumSquares,
      .u8_to_f32 = U8ToF32,
  };
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
