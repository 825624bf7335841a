#include "state/deltas.h"

#include <algorithm>
#include <utility>

namespace rrm {
namespace {

// A wish holds for so many updates: a consumer that stops asking costs nothing for long.
constexpr int64_t kWishLasts = 8;
constexpr int64_t kLeastRows = 64;

}  // namespace

bool Deltas::begin(int64_t version, int64_t active, int64_t changed, int32_t channels) {
  version_ = -1;
  rows_.clear();
  const bool wanted = version - wanted_.load(std::memory_order_relaxed) < kWishLasts;
  if (!wanted) memory_.resize(0);
  if (!wanted || active == 0) return false;
  channels_ = channels;
  room_ = std::min(active, changed + changed / 2 + kLeastRows);
  used_.store(0, std::memory_order_relaxed);
  memory_.resize(room_ * channels);  // gives memory back after a large change
  return true;
}

float* Deltas::take(int64_t n) {
  const int64_t at = used_.fetch_add(n, std::memory_order_relaxed);
  return at + n <= room_ ? memory_.data() + at * channels_ : nullptr;
}

void Deltas::finish(std::vector<Rows> rows, double energy, int64_t version) {
  if (used_.load(std::memory_order_relaxed) > room_) return;
  rows_ = std::move(rows);
  energy_ = energy;
  version_ = version;
}

}  // namespace rrm
