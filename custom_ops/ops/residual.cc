#include "ops/residual.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace rrm {
namespace {

// Measured at one thread (AVX-512), in multiply-accumulates a nanosecond: the recompute kernel, and this one, whose
// pieces are shorter and whose rows lie apart.
constexpr double kAnewRate = 50.0;
constexpr double kAddRate = 46.0;
// Reading a kept sum and writing it again, a float, in a map that stays in the caches or in a larger one; finding one
// row and its sum; noting a changed row.
constexpr double kKeptNanoseconds[] = {0.4, 1.2};
constexpr double kLargeMap = 1e6;  // floats
constexpr double kPairNanoseconds = 6.0;
constexpr double kNoteNanoseconds = 15.0;
// Sums are kept from the first bound on (of this kernel's time over the other's, averaged over runs), and given up
// behind the second.
constexpr double kBegins = 0.8;
constexpr double kEnds = 0.95;
constexpr double kAverage = 0.25;
// Each site's sum is made anew at least every so many runs in which it is active.
constexpr int32_t kRefreshEvery = 256;
// Adding and later taking away a thousand times what rows usually hold leaves a rounding error that counts: such
// changes are not added.
constexpr double kWildEnergy = 1e6;
constexpr int32_t kLookAgainEvery = 16;
// Runs without sums after which their memory is given back.
constexpr int32_t kIdle = 32;
// An input whose changes are not to be had so many times in a row is not asked again before a fresh start.
constexpr int32_t kMostMisses = 8;

double kept_nanoseconds(const MapShape& shape) {
  const double floats = static_cast<double>(shape.height) * shape.width * shape.channels;
  return kKeptNanoseconds[floats > kLargeMap ? 1 : 0];
}

}  // namespace

struct Residual::Sums final : Extra {
  Floats rows;  // height * width rows of `stride` floats
  int32_t stride = 0;
  ChangeMap good;
  bool keeps = false;
  double share = 1;  // this kernel's time over the other's, averaged
  double usual = 0;  // squares of an input row, on average
  int32_t turn = 0;
  int32_t misses = 0;
  int32_t idle = 0;              // runs since sums were given up
  int32_t wait = 0;              // runs until `usual` may be measured again
  bool adds = false;             // in this run, block by block
  std::atomic<int64_t> macs{0};  // that were added in this run

  int64_t bytes() const override { return rows.bytes() + good.bytes(); }
  float* row(const Run& r) { return rows.data() + (static_cast<int64_t>(r.y) * good.width() + r.x) * stride; }
  void begin(const MapShape& shape, int32_t floats) {
    stride = floats;
    rows.resize(static_cast<int64_t>(shape.height) * shape.width * stride);
    good.resize(shape.height, shape.width);
    keeps = true;
    usual = 0;
    wait = 0;
  }
  // The memory stays for a while: a change of everything is often one of a few, and the next sums would have to be
  // given their pages anew.
  void give_up() {
    idle = keeps ? 0 : idle + 1;
    keeps = false;
    if (idle == kIdle) rows.resize(0);
  }
  void refresh() {
    for (int32_t y = turn; y < good.height(); y += kRefreshEvery) good.clear_row(y);
    turn = (turn + 1) % kRefreshEvery;
    if (turn == 0) usual = 0;  // to be measured again
  }
};

struct Residual::Lists {
  struct Pair {
    std::vector<const float*> rows;
    std::vector<float*> outs;
  };
  std::vector<Pair> pairs;  // [first tap * kernel width + last tap]

  // Empty lists, also where a run broke off that had begun some.
  void begin(size_t count) {
    pairs.resize(std::max(pairs.size(), count));
    for (Pair& p : pairs) {
      p.rows.clear();
      p.outs.clear();
    }
  }
};

Residual::Sums& Residual::sums_of(const SiteState& state) { return *static_cast<Sums*>(state.extra.get()); }

bool Residual::keeps(const SiteState& state) { return state.extra != nullptr && sums_of(state).keeps; }

int64_t Residual::finished(SiteState& state) const {
  if (!keeps(state)) return 0;
  reach_same(state.active, sums_of(state).good);
  return sums_of(state).macs;
}

int64_t Residual::prepare(Context& context, const MapInput& in, const MapShape& shape, SiteState& state,
                          const Update& update) const {
  if (state.extra == nullptr) state.extra = std::make_unique<Sums>();
  Sums& sums = sums_of(state);
  sums.adds = false;
  sums.macs = 0;
  const double share = share_of(in, shape, update.active);
  sums.share += kAverage * (share - sums.share);
  const bool pays = sums.share < (sums.keeps ? kEnds : kBegins) && sums.misses < kMostMisses;
  if (update.fresh) sums.misses = 0;
  if (update.fresh || update.level.gate != Gate::kRms || !pays) {
    sums.give_up();
    return update.active;
  }
  const Columns& last = columns_.back();
  if (!sums.keeps) sums.begin(shape, last.first + static_cast<int32_t>(kernels_->gemm_packed_floats(0, last.n)));
  for (const Piece& p : in.pieces) p.resident->deltas.want(p.resident->version);
  sums.refresh();
  const int64_t stale = state.active.count_without(sums.good);
  PhaseClock::of_thread().lap(Phase::kTrack);
  const double left = static_cast<double>(stale) / static_cast<double>(update.active);
  const bool known = told(in);
  sums.misses = known || in.everything ? 0 : sums.misses + 1;
  if (!known || share + left >= 1 || !tame(in, sums)) {
    sums.good.remove(state.active);
    return update.active;
  }
  const double anew = static_cast<double>(geometry_->taps()) * in_ * out_ / kAnewRate;
  double work = static_cast<double>(update.active) * out_ * kept_nanoseconds(shape) + static_cast<double>(stale) * anew;
  sums.adds = columns_.size() == 1;
  if (sums.adds) {
    work += share * anew * static_cast<double>(update.active);
  } else {
    add_by_columns(context, in, shape, sums);
  }
  state.nanoseconds = work;
  return stale;
}

// By what is counted: the changed inputs' products and the kept sums, over the active outputs' products.
double Residual::share_of(const MapInput& in, const MapShape& shape, int64_t active) const {
  if (in.everything) return 1;
  const Window w = geometry_->window(in.height, in.width);
  const double taps = geometry_->taps();
  double adds = 0;  // per output channel
  for (const Piece& p : in.pieces) {
    if (!p.changed) continue;
    const double pairs = static_cast<double>(p.resident->changed) * taps / (w.stride[0] * w.stride[1]);
    adds += pairs * (p.count / kAddRate + kPairNanoseconds / (in.whole() ? w.kernel[1] : 1) / out_);
    adds += static_cast<double>(p.resident->changed) * kNoteNanoseconds / out_;
  }
  const double sites = static_cast<double>(active);
  return (adds + kept_nanoseconds(shape) * sites) / (sites * taps * in_ / kAnewRate);
}

// Whether the input tells what it changed by.
bool Residual::told(const MapInput& in) {
  const auto tells = [](const Piece& p) { return !p.changed || p.resident->deltas.lead_to(p.resident->version); };
  return !in.everything && std::all_of(in.pieces.begin(), in.pieces.end(), tells);
}

// Whether the changes are of a size that can be added.
bool Residual::tame(const MapInput& in, Sums& sums) const {
  double energy = 0;
  for (const Piece& p : in.pieces) energy += p.changed ? p.resident->deltas.energy() : 0.0;
  const auto fits = [&] { return energy <= kWildEnergy * sums.usual; };
  if (fits() || sums.wait-- > 0) return fits();
  double squares = 0;
  for (const Piece& p : in.pieces) squares += kernels_->sum_squares(p.resident->rows.data(), p.resident->rows.size());
  sums.usual = std::isfinite(squares) ? squares / static_cast<double>(in.sites()) : 0.0;
  sums.wait = kLookAgainEvery;
  return fits();
}

// All changes to all good sums, for weights that are many.
void Residual::add_by_columns(Context& context, const MapInput& in, const MapShape& shape, Sums& sums) const {
  double macs = 0;
  for (const Piece& p : in.pieces) {
    if (p.changed) macs += static_cast<double>(p.resident->changed) * p.count * geometry_->taps() * out_;
  }
  const auto all = static_cast<int32_t>(columns_.size());
  const int32_t tasks = share_work(context, macs / kAddRate, all).tasks;
  parallel(context, tasks, [&](int32_t task) {
    const FlushDenormals flush;
    const int32_t first = all * task / tasks, end = all * (task + 1) / tasks;
    add(in, shape, sums, {0, static_cast<int64_t>(shape.height) * shape.width}, columns_.subspan(first, end - first));
  });
}

// Every sum takes its changes in the same order, however the work is cut: by piece, kernel row, first and last tap.
void Residual::add(const MapInput& in, const MapShape& shape, Sums& sums, const Stretch& outs,
                   std::span<const Columns> columns) const {
  thread_local Lists lists;
  const int32_t* kernel = geometry_->kernel();
  lists.begin(static_cast<size_t>(kernel[1]) * kernel[1]);
  int64_t macs = 0;
  int32_t offset = 0;
  for (const Piece& piece : in.pieces) {
    for (int32_t ky = 0; ky < kernel[0] && piece.changed; ++ky) {
      list(in, piece, shape, sums, ky, outs, lists);
      PhaseClock::of_thread().lap(Phase::kPointers);
      macs += call(lists, columns, ky * kernel[1], offset, piece.count);
      PhaseClock::of_thread().lap(Phase::kGemm);
    }
    offset += piece.count;
  }
  sums.macs += macs;
}

void Residual::list(const MapInput& in, const Piece& piece, const MapShape& shape, Sums& sums, int32_t ky,
                    const Stretch& outs, Lists& lists) const {
  const Window w = geometry_->window(in.height, in.width);
  const int32_t s = w.stride[1], kw = w.kernel[1], reach = (kw - 1) * w.dilation[1];
  // Taps of a stretch are one piece of the weights when each has all channels and follows the one before.
  const bool joins = in.whole() && w.dilation[1] == 1;
  const int64_t pitch = piece.resident->channels;
  const std::vector<Deltas::Rows>& rows = piece.resident->deltas.rows();
  const auto row_of = [&](int64_t site) {
    return static_cast<int32_t>(site / shape.width) * w.stride[0] - w.pad[0] + ky * w.dilation[0];
  };
  const int32_t lowest = row_of(outs.first), highest = row_of(outs.end - 1);
  auto r =
      std::lower_bound(rows.begin(), rows.end(), lowest, [](const Deltas::Rows& a, int32_t y) { return a.run.y < y; });
  for (; r != rows.end() && r->run.y <= highest; ++r) {
    const int32_t down = r->run.y - row_of(0);
    if (down % w.stride[0] != 0) continue;
    const int32_t oy = down / w.stride[0], a = r->run.x, b = r->run.x + r->run.n;
    const int64_t line = static_cast<int64_t>(oy) * shape.width;
    const int32_t from = (std::max(0, a + w.pad[1] - reach) + s - 1) / s;
    const int32_t to = std::min((b - 1 + w.pad[1]) / s, shape.width - 1);
    const int64_t end = std::min(line + to + 1, outs.end);
    for (int64_t site = std::max(line + from, outs.first); site < end; ++site) {
      const auto ox = static_cast<int32_t>(site - line);
      if (!sums.good.get(oy, ox)) continue;
      float* out = sums.rows.data() + site * sums.stride;
      for (int32_t j = 0; j < sums.stride; j += 16) __builtin_prefetch(out + j, 1);
      const int32_t left = ox * s - w.pad[1] - a;  // of the window's first column, from the run's
      const auto push = [&](int32_t first, int32_t last, int32_t x) {
        Lists::Pair& pair = lists.pairs[static_cast<size_t>(first) * kw + last];
        pair.rows.push_back(r->rows + x * pitch + piece.first);
        pair.outs.push_back(out);
      };
      if (joins) {
        const int32_t first = std::max(0, -left), last = std::min(kw - 1, b - a - 1 - left);
        push(first, last, left + first);
        continue;
      }
      for (int32_t kx = 0; kx < kw; ++kx) {
        const int32_t x = left + kx * w.dilation[1];
        if (x >= 0 && x < r->run.n) push(kx, kx, x);
      }
    }
  }
}

int64_t Residual::call(Lists& lists, std::span<const Columns> columns, int32_t first_tap, int32_t offset,
                       int32_t count) const {
  const int32_t kw = geometry_->kernel()[1];
  int64_t macs = 0;
  for (int32_t first = 0; first < kw; ++first) {
    for (int32_t last = first; last < kw; ++last) {
      Lists::Pair& pair = lists.pairs[static_cast<size_t>(first) * kw + last];
      if (pair.rows.empty()) continue;
      GemmAddArgs args{};
      args.rows = pair.rows.data();
      args.outs = pair.outs.data();
      args.sites = static_cast<int32_t>(pair.rows.size());
      args.k = geometry_->taps() * in_;
      args.first = (first_tap + first) * in_ + offset;
      args.count = last > first ? (last - first + 1) * in_ : count;
      for (const Columns& c : columns) {
        args.packed = c.packed.data();
        args.n = c.n;
        args.column = c.first;
        kernels_->gemm_add(args);
        macs += static_cast<int64_t>(args.sites) * args.count * c.n;
      }
      pair.rows.clear();
      pair.outs.clear();
    }
  }
  return macs;
}

void Residual::add_block(const MapInput& in, const MapShape& shape, const SiteState& state, const Block& block) const {
  Sums& sums = sums_of(state);
  if (!sums.adds) return;
  const auto site = [&](const Run& r, int32_t m) { return static_cast<int64_t>(r.y) * shape.width + r.x + m; };
  add(in, shape, sums, {site(block.runs.front(), 0), site(block.runs.back(), block.runs.back().n)}, columns_);
}

Block Residual::stale_sites(const SiteState& state, const Block& block, std::vector<Run>& runs) {
  runs.clear();
  for (const Run& r : block.runs) sums_of(state).good.runs_within(r, true, runs);
  int32_t sites = 0;
  for (const Run& r : runs) sites += r.n;
  return {runs, sites};
}

Block Residual::broken_sites(const Block& block, const float* rows, std::vector<Run>& runs) const {
  runs.clear();
  const int64_t floats = static_cast<int64_t>(block.sites) * out_;
  if (std::isfinite(kernels_->sum_squares(rows, floats))) return {runs, 0};
  for (const Run& r : block.runs) {
    for (int32_t m = 0; m < r.n; ++m, rows += out_) {
      if (!std::isfinite(kernels_->sum_squares(rows, out_))) runs.push_back({r.y, r.x + m, 1});
    }
  }
  return {runs, static_cast<int32_t>(runs.size())};
}

void Residual::copy(const SiteState& state, const Block& block, float* out) const {
  Sums& sums = sums_of(state);
  const size_t bytes = static_cast<size_t>(out_) * sizeof(float);
  for (const Run& r : block.runs) {
    const float* row = sums.row(r);
    if (sums.stride == out_) {
      std::memcpy(out, row, bytes * r.n);
      out += static_cast<int64_t>(r.n) * out_;
      continue;
    }
    for (int32_t m = 0; m < r.n; ++m, row += sums.stride, out += out_) std::memcpy(out, row, bytes);
  }
}

void Residual::keep(const SiteState& state, const Block& block, const float* rows) const {
  Sums& sums = sums_of(state);
  const size_t bytes = static_cast<size_t>(out_) * sizeof(float);
  for (const Run& r : block.runs) {
    float* row = sums.row(r);
    for (int32_t m = 0; m < r.n; ++m, row += sums.stride, rows += out_) std::memcpy(row, rows, bytes);
  }
}

}  // namespace rrm
