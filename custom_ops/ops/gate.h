// What a gate is told: by its node's attributes, and for one run.
#pragma once

#include "kernels/table.h"
#include "ops/interface.h"

namespace rrm {

// threshold, scale: as the node's attributes have them. A threshold of 0 is exact; a scale of 0 is measured.
struct GateAttributes {
  GateAttributes() = default;
  explicit GateAttributes(const Attributes& attributes)
      : threshold(attributes.real("threshold")), scale(attributes.real("scale")) {}
  float threshold = 0;
  float scale = 0;
};

struct GateLevel {
  Gate gate;
  float limit;  // of the sum of squares over a row; only for Gate::kRms
};

}  // namespace rrm
