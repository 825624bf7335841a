#include "ops/block.h"

#include <algorithm>
#include <utility>

namespace rrm {
namespace {

// A block's output rows stay in the first-level cache's neighbourhood: at most this many floats ...
constexpr int32_t kBlockFloats = 8 * 1024;
// ... but enough sites to fill register tiles many times, and few enough to keep the row pointers small.
constexpr int32_t kBlockMin = 24;
constexpr int32_t kBlockMax = 192;

}  // namespace

void cut_blocks(int32_t limit, Scratch::Cut& cut) {
  cut.pieces.clear();
  cut.blocks.clear();
  cut.ends.clear();
  int64_t before = 0;
  int32_t open = 0;  // sites of the block in the making
  const auto close = [&] {
    cut.blocks.push_back({{}, open, before, nullptr});
    cut.ends.push_back(cut.pieces.size());
    before += std::exchange(open, 0);
  };
  for (const Run& r : cut.runs) {
    for (int32_t x = r.x; x < r.x + r.n;) {
      const int32_t n = std::min(r.x + r.n - x, limit - open);
      cut.pieces.push_back({r.y, x, n});
      open += n;
      x += n;
      if (open == limit) close();
    }
  }
  if (open > 0) close();
  size_t first = 0;
  for (size_t b = 0; b < cut.blocks.size(); first = cut.ends[b++]) {
    cut.blocks[b].runs = std::span(cut.pieces).subspan(first, cut.ends[b] - first);
    if (cut.ends[b] < cut.pieces.size()) cut.blocks[b].next = &cut.pieces[cut.ends[b]];
  }
}

template <typename Float>
void point_rows(Float* first, int64_t pitch, int32_t width, const Block& block, Float** to) {
  for (const Run& r : block.runs) {
    Float* row = first + (static_cast<int64_t>(r.y) * width + r.x) * pitch;
    for (int32_t m = 0; m < r.n; ++m, row += pitch) *to++ = row;
  }
}

template void point_rows(const float*, int64_t, int32_t, const Block&, const float**);
template void point_rows(float*, int64_t, int32_t, const Block&, float**);

bool by_rows(const Block& block, int32_t channels, const GateLevel& level) {
  constexpr int64_t kShortRun = 32;
  constexpr int64_t kLeastChannels = 5;
  return level.gate != Gate::kAll && channels >= kLeastChannels &&
         block.sites < kShortRun * static_cast<int64_t>(block.runs.size());
}

void fetch_floats(const float* first, int64_t n) {
  for (int64_t j = 0; j < n; j += 16) Prefetch(first + j);
}

void fetch_rows(const float* const* rows, int32_t n, int32_t floats) {
  for (int32_t m = 0; m < n; ++m) fetch_floats(rows[m], floats);
}

Scratch& Scratch::of_thread() {
  thread_local Scratch scratch;
  return scratch;
}

int32_t block_sites(int32_t channels, int32_t tile) {
  const int32_t sites = std::clamp(kBlockFloats / std::max(channels, 1), kBlockMin, kBlockMax);
  return std::max(sites / tile, 1) * tile;
}

}  // namespace rrm
