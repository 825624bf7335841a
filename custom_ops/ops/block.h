// A node's work, cut into stretches of sites that stay in the first-level cache's neighbourhood while they are
// computed, compared and stored.
#pragma once

#include <span>
#include <vector>

#include "kernels/table.h"
#include "ops/gate.h"
#include "state/floats.h"
#include "state/resident.h"

namespace rrm {

// A stretch of output sites that is computed at once.
struct Block {
  std::span<const Run> runs;
  int32_t sites;
  int64_t first = 0;          // of the run's active sites, its own first one
  const Run* next = nullptr;  // the run behind them: this thread's next, but where its last block ends
};

// Memory of one thread, kept between calls.
struct Scratch {
  Floats fresh;    // output rows of a block
  Floats temp;     // the operator's own
  Floats borders;  // copies of windows that hang over the edge
  Floats deltas;   // what the rows of a block changed by
  std::vector<const float*> pointers;
  std::vector<int32_t> lens;
  std::vector<float> weights;
  std::vector<uint64_t> bits, run_bits;
  std::vector<Run> kept;      // of a block: what narrow() left, sums to be made anew, or cells
  std::vector<float*> held;   // of the block's sites: the rows that the gate looks at next; empty without a gate
  std::vector<float*> apart;  // the same, where nobody else wants to know
  // A node's work, cut for its threads: the lead's.
  struct Cut {
    std::vector<Run> runs, pieces;
    std::vector<size_t> ends;  // of the blocks, in `pieces`
    std::vector<Block> blocks;
  } cut;
  const float* const* ahead() const { return held.empty() ? nullptr : held.data(); }
  static Scratch& of_thread();
};

// Sites of a block of rows of so many floats; tile: those that the kernels take at once.
int32_t block_sites(int32_t channels, int32_t tile);

// Cuts cut.runs into blocks of at most `limit` sites.
void cut_blocks(int32_t limit, Scratch::Cut& cut);

// to[m] = the row at the block's m-th site; first: that of the map's first site, pitch: floats from one to the next.
template <typename Float>
void point_rows(Float* first, int64_t pitch, int32_t width, const Block& block, Float** to);
// pointers[m] = row of `map` at the block's m-th site.
template <typename Float>
void point_rows(Resident& map, const Block& block, std::vector<Float*>& pointers) {
  pointers.resize(static_cast<size_t>(block.sites));
  point_rows<Float>(map.row(0), map.channels, map.width, block, pointers.data());
}
// Whether a block's rows are taken in one call, wherever they are: where its runs are short, each of them costs more
// than its rows do. (Rows of a picture or of a head are faster in runs.)
bool by_rows(const Block& block, int32_t channels, const GateLevel& level);

// Asks the first-level cache for what is touched soon: n floats, or n rows of so many.
void fetch_floats(const float* first, int64_t n);
void fetch_rows(const float* const* rows, int32_t n, int32_t floats);

// Takes a block's fresh rows into `map`, calls each(run, bits of the rows that replaced) for each of its runs, and
// returns how many did. held: the block's rows in the map, where they are known. deltas: null, or room for what the
// rows change by.
template <typename Each>
int64_t commit_block(const Kernels& kernels, const float* fresh, Resident& map, const Block& block,
                     const GateLevel& level, std::span<float* const> held, float* deltas, Scratch& scratch, Each each) {
  int64_t changed = 0;
  if (by_rows(block, map.channels, level) && deltas == nullptr) {
    if (held.empty()) {
      point_rows(map, block, scratch.apart);
      held = scratch.apart;
    }
    scratch.bits.resize(static_cast<size_t>(block.sites + 63) / 64);
    changed = kernels.commit_rows(
        {fresh, held.data(), block.sites, map.channels, level.gate, level.limit, scratch.bits.data()});
    int64_t first = 0;
    for (const Run& r : block.runs) {
      scratch.run_bits.resize(static_cast<size_t>(r.n + 63) / 64);
      copy_bits(scratch.bits.data(), first, r.n, scratch.run_bits.data());
      each(r, scratch.run_bits.data());
      first += r.n;
    }
    return changed;
  }
  for (const Run& r : block.runs) {
    scratch.bits.resize(static_cast<size_t>(r.n + 63) / 64);
    float* rows = map.row(static_cast<int64_t>(r.y) * map.width + r.x);
    const int64_t n =
        kernels.commit({fresh, rows, r.n, map.channels, level.gate, level.limit, scratch.bits.data(), deltas});
    each(r, scratch.bits.data());
    changed += n;
    fresh += static_cast<int64_t>(r.n) * map.channels;
    if (deltas != nullptr) deltas += n * map.channels;
  }
  return changed;
}

}  // namespace rrm
