// LRN: each channel divided by a power of the squares around it.
#include "ops/factories.h"
#include "ops/row_node.h"

namespace rrm {
namespace {

class Lrn final : public RowNode {
 public:
  Lrn(const Attributes& attributes, const Kernels& kernels)
      : RowNode(attributes, kernels),
        lrn_{static_cast<int32_t>(attributes.integer("size")), attributes.real("alpha"), attributes.real("beta"),
             attributes.real("bias")} {
    if (lrn_.size < 1 || lrn_.size > kMostLrn) fail("its window has no size, or one that is not supported");
  }

 protected:
  void apply(const RowArgs& args) const override { kernels_.lrn(args, lrn_); }

 private:
  const LrnParameters lrn_;
};

}  // namespace

std::unique_ptr<Node> make_lrn(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Lrn>(attributes, kernels);
}

}  // namespace rrm
