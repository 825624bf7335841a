// One node's resident tensor for one stream, and the steps of an update: lock, begin, (write rows), finish.
#pragma once

#include <atomic>
#include <mutex>

#include "ops/gate.h"
#include "state/resident.h"
#include "state/ticket.h"

namespace rrm {

struct MapShape {
  int32_t height;
  int32_t width;
  int32_t channels;
};

struct MapState {
  OwnedResident out;
  ChangeMap next;                        // the change map in the making
  std::atomic<float> scale{0};           // measured on the first frame that has one, where the node has none of its own
  float tolerance = 0;                   // the ticket's factor in the run before
  float turn = 1;                        // and its `turn`
  std::atomic<int64_t> bytes{0};         // all that is kept
  std::atomic<int64_t> output_bytes{0};  // the rows alone

  // Throws when another run is at work on this stream.
  std::unique_lock<std::shared_mutex> lock();
  // Marks the resident unusable and gives it this shape. True (fresh): what it held is not to be trusted.
  bool begin(const MapShape& shape);
  // Rows held under a wider tolerance have to show that they are good enough for this one: every site is active.
  bool narrows(const GateAttributes& gate, float factor) const { return gate.threshold > 0 && factor < tolerance; }
  // turn: a further factor that asks for nothing of rows that are not computed anyway.
  GateLevel level(const GateAttributes& gate, float factor, float turn, bool fresh);
  // Stores the new version if anything changed; usable from here on.
  void finish(const GateAttributes& gate, const Kernels& kernels, int64_t changed, bool fresh);
  Ticket ticket(int64_t stream, float factor, float turn) const;
};

}  // namespace rrm
