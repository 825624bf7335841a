// A node whose output row is a function of the same site's input row, all channels at once.
#pragma once

#include "ops/ahead.h"
#include "ops/site_node.h"

namespace rrm {

class RowNode : public SiteNode {
 public:
  RowNode(const Attributes& attributes, const Kernels& kernels) : SiteNode(attributes, kernels, 1) {}

 protected:
  // Runs on any thread.
  virtual void apply(const RowArgs& args) const = 0;

  MapShape out_shape(std::span<const MapInput> in) const override {
    return {in[0].height, in[0].width, in[0].channels};
  }

  bool reach(size_t, const MapInput&, const ChangeMap& changed, const MapShape&, ChangeMap& out) const override {
    reach_same(changed, out);
    return true;
  }

  void rows(std::span<const MapInput> in, const MapShape& shape, const SiteState&, const Block& block, Scratch& scratch,
            float* out) const override {
    Ahead ahead(in[0], block);
    for (const Run& r : block.runs) {
      ahead.pass();
      const int64_t site = static_cast<int64_t>(r.y) * shape.width + r.x;
      const Piece& first = in[0].pieces[0];
      if (in[0].pieces.size() == 1) {
        apply({in[0].row(first, site), first.resident->channels, r.n, in[0].channels, out});
      } else {
        scratch.temp.grow(static_cast<int64_t>(r.n) * in[0].channels);
        in[0].copy_rows(site, r.n, scratch.temp.data());
        apply({scratch.temp.data(), in[0].channels, r.n, in[0].channels, out});
      }
      out += static_cast<int64_t>(r.n) * shape.channels;
    }
  }

  double nanoseconds_per_site(std::span<const MapInput> in, const MapShape& shape) const override {
    return SiteNode::nanoseconds_per_site(in, shape) + 1.0 * in[0].channels;
  }
};

}  // namespace rrm
