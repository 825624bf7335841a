#include "ops/ahead.h"

#include <algorithm>

namespace rrm {
namespace {

// Of a stretch of rows. What follows a longer one the processor foresees.
constexpr int64_t kMostFloats = 2048;

// Sites [x, end) of a row of the map.
void fetch_sites(const MapInput& in, int32_t y, int32_t x, int32_t end) {
  for (const Piece& piece : in.pieces) {
    const float* row = in.row(piece, static_cast<int64_t>(y) * in.width + x);
    const int64_t pitch = piece.resident->channels;
    if (piece.count == pitch) {
      fetch_floats(row, std::min((end - x) * pitch, kMostFloats));
      continue;
    }
    for (int32_t i = x; i < end; ++i, row += pitch) fetch_floats(row, std::min<int64_t>(piece.count, kMostFloats));
  }
}

}  // namespace

void fetch_windows(const MapInput& in, const Window& w, const Run& r, int32_t most) {
  const int32_t first = r.x * w.stride[1] - w.pad[1];
  const int32_t extent = (std::min(r.n, most) - 1) * w.stride[1] + (w.kernel[1] - 1) * w.dilation[1] + 1;
  const int32_t x = std::max(first, 0), end = std::min(first + extent, in.width);
  for (int32_t ky = 0; ky < w.kernel[0] && x < end; ++ky) {
    const int32_t y = r.y * w.stride[0] - w.pad[0] + ky * w.dilation[0];
    if (y >= 0 && y < in.height) fetch_sites(in, y, x, end);
  }
}

void Ahead::pass() {
  if (at_ > 0) sites_ -= block_.runs[at_].n;  // the first run is computed before it can be asked for
  ++at_;
  for (; sites_ < kSites && fetched_ <= block_.runs.size(); ++fetched_) {
    const Run* next = run(fetched_);
    if (next == nullptr) return;
    fetch_windows(in_, window_, *next, kSites);
    sites_ += next->n;
  }
}

}  // namespace rrm
