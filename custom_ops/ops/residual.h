// The residual kernel of a convolution: the sums before the activation are kept, and what the input's rows changed by,
// times the weights, is added to them. Its cost follows the changed inputs, the recompute kernel's the outputs whose
// windows hold one. Only under a tolerance: sums that are added to round differently from sums made anew.
//
// A sum that is kept is *good* while it is that of the held input. Sites whose sum is not good are computed anew as
// they become active: the first time, when the input's changes are not to be had, and every so often (in turns, a few
// rows of the map a run), so that rounding errors cannot gather.
#pragma once

#include <span>
#include <vector>

#include "ops/columns.h"
#include "ops/geometry.h"
#include "ops/site_node.h"

namespace rrm {

class Residual {
 public:
  Residual() = default;
  // columns: all weights, rows k = (tap, channel), of a convolution with one group. They stay the caller's.
  Residual(const Kernels& kernels, const Geometry& geometry, std::span<const Columns> columns, int32_t in, int32_t out)
      : kernels_(&kernels), geometry_(&geometry), columns_(columns), in_(in), out_(out) {}

  // Decides how this run's active sites get their sums. Returns how many are left to the recompute kernel.
  int64_t prepare(Context& context, const MapInput& in, const MapShape& shape, SiteState& state,
                  const Update& update) const;
  // After a run that succeeded: the multiply-accumulates that were added.
  int64_t finished(SiteState& state) const;

  // Whether sums are kept in this run: rows() has to be asked for them.
  static bool keeps(const SiteState& state);
  // The sums of a block's sites to out, one after the other. anew(block, rows): the recompute kernel.
  template <typename Anew>
  void rows(const MapInput& in, const MapShape& shape, const SiteState& state, const Block& block, Scratch& scratch,
            float* out, Anew anew) const {
    add_block(in, shape, state, block);
    const Block stale = stale_sites(state, block, scratch.kept);
    if (stale.sites > 0) renew(state, stale, scratch, anew);
    copy(state, block, out);
    const Block broken = broken_sites(block, out, scratch.kept);
    if (broken.sites == 0) return;
    renew(state, broken, scratch, anew);
    copy(state, block, out);
  }

 private:
  struct Sums;
  struct Lists;
  static Sums& sums_of(const SiteState& state);

  double share_of(const MapInput& in, const MapShape& shape, int64_t active) const;
  static bool told(const MapInput& in);
  bool tame(const MapInput& in, Sums& sums) const;
  // Output sites [first, end) in row-major order.
  struct Stretch {
    int64_t first;
    int64_t end;
  };
  void add_by_columns(Context& context, const MapInput& in, const MapShape& shape, Sums& sums) const;
  void add_block(const MapInput& in, const MapShape& shape, const SiteState& state, const Block& block) const;
  void add(const MapInput& in, const MapShape& shape, Sums& sums, const Stretch& outs,
           std::span<const Columns> columns) const;
  // The changes of a piece that one kernel row takes to the good sums of a stretch, by the taps that they have in
  // common.
  void list(const MapInput& in, const Piece& piece, const MapShape& shape, Sums& sums, int32_t ky, const Stretch& outs,
            Lists& lists) const;
  // Adds what is listed; the products for each output channel.
  int64_t call(Lists& lists, std::span<const Columns> columns, int32_t first_tap, int32_t offset, int32_t count) const;

  static Block stale_sites(const SiteState& state, const Block& block, std::vector<Run>& runs);
  // Sites whose sums are not finite: what they once were is lost in them.
  Block broken_sites(const Block& block, const float* rows, std::vector<Run>& runs) const;
  void copy(const SiteState& state, const Block& block, float* out) const;
  void keep(const SiteState& state, const Block& block, const float* rows) const;

  template <typename Anew>
  void renew(const SiteState& state, const Block& block, Scratch& scratch, Anew anew) const {
    scratch.temp.grow(static_cast<int64_t>(block.sites) * out_);
    anew(block, scratch.temp.data());
    keep(state, block, scratch.temp.data());
  }

  const Kernels* kernels_ = nullptr;
  const Geometry* geometry_ = nullptr;
  std::span<const Columns> columns_;
  int32_t in_ = 0;
  int32_t out_ = 0;
};

}  // namespace rrm
