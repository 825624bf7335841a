// Input rows that are read soon, asked for while earlier ones are computed: what was last touched a frame ago lies in
// memory, and the processor's own prefetching does not follow runs of a few sites.
#pragma once

#include "ops/geometry.h"

namespace rrm {

// Asks for what the windows of a run's first `most` sites see (with what lies between their taps where they are dilated
// or apart).
void fetch_windows(const MapInput& in, const Window& window, const Run& run, int32_t most);

// Stays some sites ahead of a block's runs, across the block's end.
class Ahead {
 public:
  // window: of the operator; by default a site's own row is what it reads.
  Ahead(const MapInput& in, const Block& block, const Window& window = {}) : in_(in), block_(block), window_(window) {}

  // To be called before each run of the block, in their order.
  void pass();

 private:
  // Sites that take as long as the memory takes to answer.
  static constexpr int32_t kSites = 8;

  const Run* run(size_t i) const { return i < block_.runs.size() ? &block_.runs[i] : block_.next; }

  const MapInput& in_;
  const Block& block_;
  const Window window_;
  size_t at_ = 0;       // the run that pass() is called for next
  size_t fetched_ = 1;  // the first run that was not asked for
  int32_t sites_ = 0;   // of the runs from the one to the other
};

}  // namespace rrm
