// ArgMax over the channels of each site: a map of one channel, which holds the number of the greatest.
#include "ops/factories.h"
#include "ops/row_node.h"

namespace rrm {
namespace {

class ArgMax final : public RowNode {
 public:
  ArgMax(const Attributes& attributes, const Kernels& kernels)
      : RowNode(attributes, kernels), last_(attributes.integer("last") != 0) {}

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override { return {in[0].height, in[0].width, 1}; }
  void apply(const RowArgs& args) const override { kernels_.arg_max(args, last_); }

 private:
  const bool last_;
};

}  // namespace

std::unique_ptr<Node> make_arg_max(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<ArgMax>(attributes, kernels);
}

}  // namespace rrm
