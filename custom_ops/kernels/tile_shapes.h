// The operand of LDTILECFG, as the processor reads it: the shape of each tile register.
#pragma once

#include <stdint.h>

namespace rrm {

struct alignas(64) TileShapes {
  uint8_t palette;  // 0: no tiles in use; 1: eight tiles of up to 16 rows of 64 bytes
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileShapes) == 64);

}  // namespace rrm
