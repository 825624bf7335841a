// Activation that stands alone: rows of the input, put through the driver's activation.
#include "ops/factories.h"
#include "ops/site_node.h"

namespace rrm {
namespace {

class ActivationNode final : public SiteNode {
 public:
  ActivationNode(const Attributes& attributes, const Kernels& kernels) : SiteNode(attributes, kernels, 1) {
    read_activation(attributes);
  }

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override {
    return {in[0].height, in[0].width, in[0].channels};
  }

  bool reach(size_t, const MapInput&, const ChangeMap& changed, const MapShape&, ChangeMap& out) const override {
    reach_same(changed, out);
    return true;
  }

  void rows(std::span<const MapInput> in, const MapShape& shape, const SiteState&, const Block& block, Scratch&,
            float* out) const override {
    for (const Run& r : block.runs) {
      in[0].copy_rows(static_cast<int64_t>(r.y) * shape.width + r.x, r.n, out);
      out += static_cast<int64_t>(r.n) * shape.channels;
    }
  }
};

}  // namespace

std::unique_ptr<Node> make_activation(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<ActivationNode>(attributes, kernels);
}

}  // namespace rrm
