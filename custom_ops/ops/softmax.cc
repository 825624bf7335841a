// Softmax over the channels of each site, or its logarithm.
#include "ops/factories.h"
#include "ops/row_node.h"

namespace rrm {
namespace {

class Softmax final : public RowNode {
 public:
  Softmax(const Attributes& attributes, const Kernels& kernels)
      : RowNode(attributes, kernels), log_(attributes.integer("log") != 0) {}

 protected:
  void apply(const RowArgs& args) const override { kernels_.softmax(args, log_); }

 private:
  const bool log_;
};

}  // namespace

std::unique_ptr<Node> make_softmax(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Softmax>(attributes, kernels);
}

}  // namespace rrm
