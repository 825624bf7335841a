// MapShape: the shape of a map as ONNX's Shape gives it. (Not named Shape: see docs/ARCHITECTURE.md.)
#include <algorithm>
#include <array>

#include "ops/factories.h"
#include "ops/ticket_node.h"

namespace rrm {
namespace {

class MapShape final : public Node {
 public:
  using Node::Node;
  void run(Context& context) override {
    const RunClock clock(stats_);
    const std::vector<Ticket> tickets = tickets_of(context, 0, name_);
    if (tickets.empty()) fail("an empty batch");
    const std::array<int64_t, 1> shape = {4};
    int64_t* out = context.output_i64(shape);
    const int64_t dims[4] = {static_cast<int64_t>(tickets.size()), tickets[0].channels(), tickets[0].height,
                             tickets[0].width};
    std::copy(dims, dims + 4, out);
  }
};

}  // namespace

std::unique_ptr<Node> make_shape(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<MapShape>(attributes, kernels);
}

}  // namespace rrm
