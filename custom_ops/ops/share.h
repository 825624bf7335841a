// How a node's work is shared between threads.
#pragma once

#include <cstdint>

#include "ops/interface.h"

namespace rrm {

struct WorkShare {
  int32_t hands = 1;  // threads that take part
  int32_t tasks = 1;  // parts to cut it into
};

constexpr int32_t kMostTasks = 32;

// For so much work, in estimated nanoseconds and at most so many parts.
WorkShare share_work(Context& context, double nanoseconds, int64_t most = kMostTasks);

// How many of `active` sites make a block, `sites` at most, so that each hand finds some blocks of whole tiles: one
// where a block reads many weights.
int32_t shared_sites(int32_t sites, int64_t active, int32_t hands, int32_t tile, int64_t weight_bytes);

}  // namespace rrm
