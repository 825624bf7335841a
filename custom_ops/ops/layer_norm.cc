// LayerNormalization over the channels of each site.
#include "ops/factories.h"
#include "ops/row_node.h"

namespace rrm {
namespace {

class LayerNorm final : public RowNode {
 public:
  LayerNorm(const Attributes& attributes, const Kernels& kernels)
      : RowNode(attributes, kernels),
        epsilon_(attributes.real("epsilon")),
        scale_(vector_of(attributes, 1)),
        bias_(vector_of(attributes, 2)) {}

 protected:
  MapShape out_shape(std::span<const MapInput> in) const override {
    if (in[0].channels != static_cast<int32_t>(scale_.size()) || scale_.size() != bias_.size()) {
      fail("its scale or bias has another number of channels than its input");
    }
    return RowNode::out_shape(in);
  }

  void apply(const RowArgs& args) const override { kernels_.layer_norm(args, scale_.data(), bias_.data(), epsilon_); }

 private:
  std::vector<float> vector_of(const Attributes& attributes, size_t input) const {
    const Dense c = attributes.constant(input);
    if (c.dtype != Dtype::kFloat) fail("its scale or bias is not a float32 vector");
    return {c.as<float>(), c.as<float>() + c.count()};
  }

  const float epsilon_;
  const std::vector<float> scale_, bias_;
};

}  // namespace

std::unique_ptr<Node> make_layer_norm(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<LayerNorm>(attributes, kernels);
}

}  // namespace rrm
