#include "ops/map_state.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/node.h"

namespace rrm {

std::unique_lock<std::shared_mutex> MapState::lock() {
  std::unique_lock own(out->mutex, std::try_to_lock);
  if (!own.owns_lock()) throw Error(kTwoRuns, kTwoRunsHint);
  return own;
}

bool MapState::begin(const MapShape& shape) {
  const bool same = out->height == shape.height && out->width == shape.width && out->channels == shape.channels;
  const bool fresh = !out->usable || !same;
  out->usable = false;
  if (same) return fresh;
  out->height = out->width = out->channels = 0;  // stays so if memory runs out below
  out->rows.resize(static_cast<int64_t>(shape.height) * shape.width * shape.channels);
  out->map.resize(shape.height, shape.width);
  next.resize(shape.height, shape.width);
  out->height = shape.height;
  out->width = shape.width;
  out->channels = shape.channels;
  scale = 0;
  return true;
}

GateLevel MapState::level(const GateAttributes& gate, float factor, float of_turn, bool fresh) {
  tolerance = factor;
  turn = of_turn;
  const float rms = gate.threshold * factor * turn * (gate.scale > 0 ? gate.scale : scale.load());
  const float limit = rms * rms * static_cast<float>(out->channels);
  const Gate kind = fresh ? Gate::kAll : limit > 0 ? Gate::kRms : Gate::kExact;
  return {kind, std::min(limit, std::numeric_limits<float>::max())};
}

void MapState::finish(const GateAttributes& gate, const Kernels& kernels, int64_t changed, bool fresh) {
  // A first frame that is black, or not finite, has no scale to give: the next one that changes something is asked.
  if ((fresh || changed > 0) && gate.threshold > 0 && gate.scale <= 0 && scale <= 0) {
    const double n = static_cast<double>(std::max<int64_t>(out->rows.size(), 1));
    const double rms = std::sqrt(kernels.sum_squares(out->rows.data(), out->rows.size()) / n);
    scale = std::isfinite(rms) ? static_cast<float>(rms) : 0.0f;
  }
  if (changed > 0 || fresh) {
    std::swap(out->map, next);
    out->base = out->version++;
    out->changed = changed;
  }
  out->usable = true;
  bytes = out->bytes() + next.bytes();
  output_bytes = out->rows.size() * static_cast<int64_t>(sizeof(float));
}

Ticket MapState::ticket(int64_t stream, float factor, float of_turn) const {
  Ticket t;
  t.stream = stream;
  t.tolerance = factor;
  t.turn = of_turn;
  t.height = out->height;
  t.width = out->width;
  t.segments = {{out->id, out->base, out->version, 0, out->channels}};
  return t;
}

}  // namespace rrm
