// What the rows of a resident tensor changed by in its last update: for consumers that add changes to what they keep
// instead of reading all rows of a window again. Made only while a consumer asks for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "state/change_map.h"
#include "state/floats.h"

namespace rrm {

class Deltas {
 public:
  // run.n rows, one after the other, of as many floats as the tensor has channels.
  struct Rows {
    Run run;
    const float* rows;
  };

  // A consumer that has just read `version` would like the changes of the next updates. From any thread.
  void want(int64_t version) { wanted_.store(version, std::memory_order_relaxed); }

  // The producer begins the update that follows `version`, in which `active` rows of `channels` floats are computed;
  // `changed` of them did so the last time. False: nobody asks, or no row is compared (active is 0).
  bool begin(int64_t version, int64_t active, int64_t changed, int32_t channels);
  // Room for n rows, or null when there is none left: this update then has no deltas. From any thread.
  float* take(int64_t n);
  // The changed sites in row-major order; energy: the sum of the squares of all rows.
  void finish(std::vector<Rows> rows, double energy, int64_t version);

  bool lead_to(int64_t version) const { return version_ == version; }
  const std::vector<Rows>& rows() const { return rows_; }
  double energy() const { return energy_; }
  int64_t bytes() const { return memory_.bytes() + static_cast<int64_t>(rows_.capacity() * sizeof(Rows)); }

 private:
  std::atomic<int64_t> wanted_{INT64_MIN / 2};
  std::atomic<int64_t> used_{0};  // rows
  int64_t room_ = 0;
  int32_t channels_ = 0;
  Floats memory_;
  std::vector<Rows> rows_;
  double energy_ = 0;
  int64_t version_ = -1;
};

}  // namespace rrm
