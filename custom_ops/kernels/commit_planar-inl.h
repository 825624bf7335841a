// commit_planar: planes of fresh values against held rows.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

inline void RowsFromPlanes(const float* x, int64_t plane, int c, int sites, float* rows) {
  if (c == 3) {
    JoinTriples(x, plane, sites, rows);
  } else {
    TransposeBlocks(x, plane, c, sites, rows, c);
  }
}

// Pictures come from memory, and the processor's own prefetching does not keep up with several planes.
constexpr int kFloatsAhead = 512;

inline void FetchPlanes(const CommitPlanarArgs& g, int m) {
  for (int j = 0; j < g.c; ++j) {  // of the last rows too: a prefetch of what is not there does nothing
    for (int i = 0; i < kPlanarSites; i += 16) {
      Prefetch(g.x + j * g.plane + m + i + kFloatsAhead);
      Prefetch(g.held + static_cast<int64_t>(m) * g.c + j * kPlanarSites + i + kFloatsAhead);
    }
  }
}

// Planes become rows in the first-level cache and are then compared with the held rows: one copy of the picture is all
// that has to be held, and read.
int64_t CommitPlanar(const CommitPlanarArgs& g) {
  int64_t count = 0;
  for (int m = 0; m < g.sites; m += kPlanarSites) {
    const int n = g.sites - m < kPlanarSites ? g.sites - m : kPlanarSites;
    const float* rows = g.x + m;
    FetchPlanes(g, m);
    if (g.c > 1) {
      RowsFromPlanes(rows, g.plane, g.c, n, g.room);
      rows = g.room;
    }
    count += Commit({rows, g.held + static_cast<int64_t>(m) * g.c, n, g.c, g.gate, g.limit, g.bits + m / 64, nullptr});
  }
  return count;
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
