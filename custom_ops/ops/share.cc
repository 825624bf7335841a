#include "ops/share.h"

#include <algorithm>

namespace rrm {
namespace {

// Work below this is not worth waking the runtime's workers. Above, it goes in small parts: a worker comes late, and
// then finds its share.
constexpr double kWakeNanoseconds = 60e3;
constexpr double kWakeTask = 10e3;
// The same where they wait for it already: what a job costs them, and the lines of cache that change hands.
constexpr double kHandNanoseconds = 6e3;
constexpr double kHandTask = 1e3;

// Weights of more bytes do not stay in a core's second-level cache beside the rows: each block brings them anew.
constexpr int64_t kManyBytes = 256 * 1024;

}  // namespace

WorkShare share_work(Context& context, double nanoseconds, int64_t most) {
  if (nanoseconds < kHandNanoseconds) return {};
  const int32_t hands = context.hands(nanoseconds);
  if (hands == 1 && nanoseconds < kWakeNanoseconds) return {};
  const double task = hands == 1 ? kWakeTask : kHandTask;
  const auto wanted = static_cast<int64_t>(std::min(nanoseconds / task, double{kMostTasks}));
  return {hands, static_cast<int32_t>(std::clamp<int64_t>(most, 1, wanted))};
}

int32_t shared_sites(int32_t sites, int64_t active, int32_t hands, int32_t tile, int64_t weight_bytes) {
  if (hands == 1) return sites;
  const int64_t blocks = (weight_bytes > kManyBytes ? 1 : 2) * hands;
  const int64_t even = (active + blocks - 1) / blocks;
  return std::min(sites, static_cast<int32_t>((even + tile - 1) / tile) * tile);
}

}  // namespace rrm
