// The amx level with tiles in plain code, in the place of target_amx.cc: with the portable bodies, or with those of
// AVX-512 where it is compiled for them. RRM_TRAPS: the real target_amx.cc stays, and its tile instructions are carried
// out by trap_tiles.cc. cpu_features.cc is compiled with `cpu_features` renamed to `found_features`.
#include "levels.h"
#include "soft_tiles.h"

#if !defined(RRM_TRAPS)

#define RRM_LEVEL amx_emulated
// clang-format off
#if defined(__AVX512BF16__)
#include "vec_avx512.h"
#else
#include "vec_portable.h"
#endif
#include "kernels-inl.h"
#include "split-inl.h"
#include "tiles_emulated.h"
#include "gemm_amx-inl.h"
// clang-format on

namespace rrm {

extern const Kernels kAmx = amx_emulated::WithTiles(amx_emulated::MakeTable("amx"));
extern const Kernels kBelowAmx = amx_emulated::MakeTable("below amx");

}  // namespace rrm

extern "C" {

// The level that the emulated one is made of.
const rrm::Kernels* kernels_below() { return &rrm::kBelowAmx; }

void split_row(const float* x, uint16_t* hi, uint16_t* lo, bool* finite) {
  alignas(64) uint16_t parts[2][rrm::amx_emulated::kTileDepth];
  *finite = rrm::amx_emulated::SplitRow(x, parts[0], parts[1]);
  memcpy(hi, parts[0], sizeof parts[0]);
  memcpy(lo, parts[1], sizeof parts[1]);
}
}

#endif  // !RRM_TRAPS

namespace soft {

int fault = kNone;

Tiles& tiles() {
  static thread_local Tiles tiles;
  return tiles;
}

}  // namespace soft

namespace rrm {

uint32_t found_features();

// Those of the machine, and all that the level asks for; or what a test sets.
uint32_t features = found_features() | kCpuAvx2 | kCpuFma | kCpuAvx512F | kCpuAvx512Bw | kCpuAvx512Vl | kCpuAvx512Dq |
                    kCpuAvx512Bf16 | kCpuAmxTile | kCpuAmxBf16;

uint32_t cpu_features() { return features; }

}  // namespace rrm

extern "C" {

uint32_t get_features() { return rrm::features; }
void set_features(uint32_t features) { rrm::features = features; }

bool amx_works() { return rrm::multiplies_right(rrm::kAmx); }

void set_fault(int fault) { soft::fault = fault; }

// Another user's tiles, of this thread. (The caller's bytes are not aligned.)
void set_shapes(const void* shapes) {
  rrm::TileShapes aligned;
  memcpy(&aligned, shapes, sizeof aligned);
  soft::tiles().Configure(aligned);
}
void get_shapes(void* shapes) { memcpy(shapes, &soft::tiles().shapes, sizeof(rrm::TileShapes)); }
}
