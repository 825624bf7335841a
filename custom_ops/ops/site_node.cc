#include "ops/site_node.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

namespace rrm {
namespace {

// Where nearly everything moves, comparing for equality costs and saves little: all rows are then computed and written
// without it, and all count as changed, which is right as well. Every so many runs they are compared again, to see
// whether that still holds. (A gate goes on: what it holds is part of the answer.)
constexpr int32_t kProbeEvery = 16;
constexpr double kRestlessShare = 0.9;

struct Name {
  std::string_view text;
  Act act;
};
constexpr std::array kActivations = {
    Name{"None", Act::kNone},
    Name{"Relu", Act::kRelu},
    Name{"LeakyRelu", Act::kLeakyRelu},
    Name{"PRelu", Act::kPRelu},
    Name{"Clip", Act::kClip},
    Name{"Sigmoid", Act::kSigmoid},
    Name{"HardSigmoid", Act::kHardSigmoid},
    Name{"HardSwish", Act::kHardSwish},
    Name{"Silu", Act::kSilu},
    Name{"Tanh", Act::kTanh},
    Name{"Gelu", Act::kGelu},
    Name{"Elu", Act::kElu},
    Name{"Abs", Act::kAbs},
    Name{"Neg", Act::kNeg},
    Name{"Exp", Act::kExp},
    Name{"Sqrt", Act::kSqrt},
    Name{"Erf", Act::kErf},
    Name{"Softplus", Act::kSoftplus},
    Name{"Mish", Act::kMish},
    Name{"Sign", Act::kSign},
    Name{"Log", Act::kLog},
    Name{"GeluTanh", Act::kGeluTanh},
    Name{"Square", Act::kSquare},
};

}  // namespace

Act parse_activation(const std::string& name) {
  for (const Name& n : kActivations) {
    if (n.text == name) return n.act;
  }
  throw Error("unknown activation '" + name + "'", "convert the model again with this version of rrm_onnx");
}

SiteNode::SiteNode(const Attributes& attributes, const Kernels& kernels, size_t map_inputs, bool addend)
    : TicketNode(attributes, kernels), map_inputs_(map_inputs + (addend ? 1 : 0)), addend_(addend) {
  footprint_.note(kOwn, &map_inputs_, Footprint::kObject);
}

void FusedActivation::read(const Attributes& attributes, const char* kind, const char* params) {
  params_ = attributes.reals(params);
  act_.kind = parse_activation(attributes.text(kind));
  const auto param = [&](size_t i) { return i < params_.size() ? params_[i] : 0.0f; };
  act_.a = param(0);
  act_.b = param(1);
  if (act_.kind == Act::kPRelu) {
    if (params_.size() == 1) {
      act_.kind = Act::kLeakyRelu;
    } else {
      act_.slopes = params_.data();
    }
  }
}

int64_t SiteNode::state_bytes() { return streams_.sum(&SiteState::bytes); }

int64_t SiteNode::output_bytes() { return streams_.sum(&SiteState::output_bytes); }

float SiteNode::measured_scale(bool inner) {
  const std::shared_ptr<SiteState> state = streams_.some();
  return state == nullptr ? 0.0f : inner ? state->inner_scale.load() : state->scale.load();
}

double SiteNode::nanoseconds_per_site(std::span<const MapInput> in, const MapShape& shape) const {
  int32_t floats = 2 * shape.channels;
  for (const MapInput& m : in) floats += m.channels;
  return 2.0 + 0.3 * floats + (activation_.kind() >= Act::kSigmoid ? 1.0 * shape.channels : 0.0);
}

Answer SiteNode::answer(Context& context, std::span<const Ticket> tickets) {
  const int64_t stream = tickets[0].stream;
  float turn = 1.0f;
  for (const Ticket& t : tickets) {
    if (t.stream != stream) fail("its inputs belong to different streams");
    turn = std::min(turn, t.turn);
  }
  std::shared_ptr<SiteState> held = streams_.hold(stream);
  std::unique_lock own = held->lock();
  held->memory.resize(map_inputs_);
  for (size_t i = 0; i < map_inputs_; ++i) {
    if (!held->memory[i].replaced(tickets[i])) continue;
    // Upstream was reset, so this node starts anew as well, and by its new resident all nodes behind it.
    streams_.drop(stream);
    own.unlock();
    held = streams_.hold(stream);
    own = held->lock();
    held->memory.resize(map_inputs_);
  }
  SiteState& state = *held;
  std::vector<MapInput> in(map_inputs_);
  for (size_t i = 0; i < map_inputs_; ++i) state.memory[i].resolve(tickets[i], in[i]);
  const ReadLocks locks(in);
  for (size_t i = 0; i < map_inputs_; ++i) state.memory[i].compare(tickets[i], in[i]);
  PhaseClock& clock = PhaseClock::of_thread();
  clock.lap(Phase::kTickets);

  const bool narrower = state.narrower = narrows(state, tickets[0].tolerance);
  const auto unchanged = [](const MapInput& m) { return !m.changed(); };
  if (state.out->usable && !narrower && std::all_of(in.begin(), in.end(), unchanged)) {
    state.tolerance = tickets[0].tolerance;  // wider or equal: what is held stays good enough
    if (fails_now()) fail("stopped by the test hook");
    const MapShape held_shape = {state.out->height, state.out->width, state.out->channels};
    count(in, held_shape, state.out->sites(), 0, false, false);
    return answer_of(in, held_shape, state, tickets[0], turn);
  }
  const MapShape shape = out_shape(in);
  if (addend_) check_addend(in.back(), shape);
  const bool fresh = state.begin(shape);
  if (fresh) state.active.resize(shape.height, shape.width);
  const bool everything = find_active(in, shape, state, fresh || narrower);
  const GateLevel gate = state.level(gate_, tickets[0].tolerance, turn, fresh);
  const int64_t changed = compute(context, in, shape, state, gate, everything);
  state.finish(gate_, kernels_, changed, fresh);
  for (size_t i = 0; i < map_inputs_; ++i) state.memory[i].consumed(tickets[i]);
  note_footprint(state);
  state.bytes += state.active.bytes() + state.early.bytes() + (state.extra ? state.extra->bytes() : 0);
  state.output_bytes += state.extra ? state.extra->output_bytes() : 0;
  // The active sites: cleared, searched; the changed ones: cleared.
  stats_.swept_bytes += 2 * state.active.bytes() + state.next.bytes();
  clock.lap(Phase::kTrack);
  return answer_of(in, shape, state, tickets[0], turn);
}

void SiteNode::note_footprint(const SiteState& state) {
  const Resident& out = *state.out;
  footprint_.note(kState, &state, sizeof state);
  footprint_.note(kResident, &out, sizeof out);
  footprint_.note(kMap, out.map.row(0), out.map.bytes());
  footprint_.note(kNext, state.next.row(0), state.next.bytes());
  footprint_.note(kActive, state.active.row(0), state.active.bytes());
  state.memory[0].note(footprint_, kMemory);
}

Answer SiteNode::answer_of(std::span<const MapInput> in, const MapShape& shape, const SiteState& state,
                           const Ticket& like, float turn) const {
  const int64_t sites = state.out->sites();
  return {state.ticket(like.stream, like.tolerance, turn), sites,
          static_cast<int64_t>(macs_per_site(in, shape) * static_cast<double>(sites))};
}

bool SiteNode::find_active(std::span<const MapInput> in, const MapShape& shape, SiteState& state, bool everything) {
  bool any = false;
  for (const MapInput& m : in) {
    everything = everything || m.everything;
    any = any || m.changed();
  }
  state.active.clear();
  for (size_t i = 0; any && !everything && i < in.size(); ++i) {
    if (in[i].one == nullptr) continue;
    if (addend_ && i + 1 == in.size()) {
      reach_same(*in[i].one, state.active);
    } else {
      everything = !reach(i, in[i], *in[i].one, shape, state.active);
    }
  }
  if (everything) state.active.fill();
  return everything;
}

int64_t SiteNode::compute(Context& context, std::span<const MapInput> in, const MapShape& shape, SiteState& state,
                          const GateLevel& level, bool everything) {
  Resident& out = *state.out;
  Scratch::Cut& cut = Scratch::of_thread().cut;
  std::vector<Run>& runs = cut.runs;
  runs.clear();
  state.active.runs(runs);
  int64_t active = 0;
  for (const Run& r : runs) active += r.n;
  const bool fresh = level.gate == Gate::kAll;
  const auto most = std::max<int64_t>(1, std::llround(kRestlessShare * static_cast<double>(out.sites())));
  const bool nearly_all = level.gate == Gate::kExact && active >= most;
  const bool unseen = nearly_all && state.restless % kProbeEvery != 0;
  if (unseen && active < out.sites()) {
    state.active.fill();
    runs.clear();
    state.active.runs(runs);
    active = out.sites();
  }
  count(in, shape, out.sites(), active, everything, fresh);
  const bool broken = fails_now();
  if (active == 0 && broken) fail("stopped by the test hook");
  if (active == 0) return 0;

  const GateLevel used = {unseen ? Gate::kAll : level.gate, level.limit};
  state.nanoseconds = nanoseconds_per_site(in, shape) * static_cast<double>(active);
  PhaseClock& clock = PhaseClock::of_thread();
  clock.lap(Phase::kTrack);
  prepare(context, in, shape, state, {level, everything, fresh, active, runs});
  clock.lap(Phase::kKernel);
  state.next.clear();
  const bool tell = out.deltas.begin(out.version, used.gate != Gate::kAll ? active : 0, out.changed, out.channels);
  const WorkShare share = share_work(context, state.nanoseconds);
  int32_t limit = block_sites(widest(shape), kernels_.gemm_tile);
  // Where what changed is told, ends of blocks are ends of the stretches that consumers add up: they must not depend on
  // how many threads happen to be here.
  if (!tell) limit = shared_sites(limit, active, share.hands, kernels_.gemm_tile / 2, weight_bytes());
  cut_blocks(limit, cut);
  std::vector<Block>& blocks = cut.blocks;
  if (broken) blocks.resize(blocks.size() / 2);
  const int64_t n = static_cast<int64_t>(blocks.size());
  const int64_t tasks = std::min<int64_t>(share.tasks, std::max<int64_t>(n, 1));
  std::vector<BlockDeltas> deltas(tell ? blocks.size() : 0);
  std::atomic<int64_t> changed{0};
  clock.lap(Phase::kTrack);
  parallel(context, static_cast<int32_t>(tasks), [&](int32_t task) {
    const FlushDenormals flush;
    int64_t mine = 0;
    for (int64_t b = n * task / tasks; b < n * (task + 1) / tasks; ++b) {
      mine += compute_block(in, shape, state, used, blocks[b], tell ? &deltas[b] : nullptr);
    }
    changed += mine;
  });
  if (broken) fail("stopped by the test hook");
  if (tell && changed > 0) finish_deltas(blocks, deltas, state.next, out);
  finished(state, fresh);
  if (used.gate == Gate::kAll) state.next.fill();
  state.restless = nearly_all && changed.load() >= most ? state.restless + 1 : 0;
  if (!fresh) stats_.changed += changed.load();
  return changed.load();
}

int64_t SiteNode::compute_block(std::span<const MapInput> in, const MapShape& shape, SiteState& state,
                                const GateLevel& gate, const Block& whole, BlockDeltas* deltas) {
  Resident& out = *state.out;
  Scratch& scratch = Scratch::of_thread();
  PhaseClock& clock = PhaseClock::of_thread();
  const Block block = narrow(in, shape, state, gate, whole, scratch);
  if (block.sites == 0) return 0;
  // Every site is active where the gate is kAll, so a block's rows are neighbours and can be written in place.
  float* fresh = out.row(static_cast<int64_t>(block.runs[0].y) * shape.width + block.runs[0].x);
  const int64_t floats = static_cast<int64_t>(block.sites) * shape.channels;
  float* const early = state.early_sites > 0 ? state.early.data() + block.first * shape.channels : nullptr;
  scratch.held.clear();
  if (gate.gate != Gate::kAll) {
    if (early == nullptr) scratch.fresh.grow(floats);
    fresh = early == nullptr ? scratch.fresh.data() : early;
    if (fetches(state)) {
      point_rows(out, block, scratch.held);
    } else {
      for (const Run& r : block.runs)
        fetch_floats(out.row(int64_t{out.width} * r.y + r.x), int64_t{r.n} * shape.channels);
    }
  }
  clock.lap(Phase::kPointers);
  if (early == nullptr) {
    rows(in, shape, state, block, scratch, fresh);
  } else if (fresh != early) {
    std::copy_n(early, floats, fresh);
  }
  clock.lap(Phase::kKernel);
  if (addend_) add(in.back(), shape, block, scratch, fresh);
  activation_.apply(kernels_, fresh, block.sites, shape.channels);
  clock.lap(Phase::kEpilogue);
  if (gate.gate == Gate::kAll) return block.sites;
  if (deltas != nullptr) scratch.deltas.grow(floats);
  const int64_t changed =
      commit_block(kernels_, fresh, out, block, gate, scratch.held, deltas != nullptr ? scratch.deltas.data() : nullptr,
                   scratch, [&](const Run& r, const uint64_t* bits) { state.next.merge(r.y, r.x, r.n, bits); });
  float* room = deltas != nullptr && changed > 0 ? out.deltas.take(changed) : nullptr;
  if (room != nullptr) {
    std::copy_n(scratch.deltas.data(), changed * shape.channels, room);
    *deltas = {room, kernels_.sum_squares(room, changed * shape.channels)};
  }
  clock.lap(Phase::kGate);
  return changed;
}

void SiteNode::finish_deltas(const std::vector<Block>& blocks, const std::vector<BlockDeltas>& found,
                             const ChangeMap& changed, Resident& out) {
  std::vector<Deltas::Rows> rows;
  std::vector<Run> runs;
  double energy = 0;
  for (size_t b = 0; b < blocks.size(); ++b) {
    const float* at = found[b].rows;
    energy += found[b].energy;
    if (at == nullptr) continue;
    runs.clear();
    for (const Run& r : blocks[b].runs) changed.runs_within(r, false, runs);
    for (const Run& r : runs) {
      rows.push_back({r, at});
      at += static_cast<int64_t>(r.n) * out.channels;
    }
  }
  out.deltas.finish(std::move(rows), energy, out.version + 1);
}

void SiteNode::check_addend(const MapInput& addend, const MapShape& shape) const {
  if (addend.height != shape.height || addend.width != shape.width || addend.channels != shape.channels) {
    fail("its addend has another size than its output");
  }
}

void SiteNode::add(const MapInput& addend, const MapShape& shape, const Block& block, Scratch& scratch,
                   float* rows) const {
  const int32_t c = shape.channels;
  for (const Run& r : block.runs) {
    const int64_t site = static_cast<int64_t>(r.y) * shape.width + r.x;
    const float* other = addend.row(addend.pieces[0], site);
    int64_t stride = addend.pieces[0].resident->channels;
    if (addend.pieces.size() > 1) {
      scratch.temp.grow(static_cast<int64_t>(r.n) * c);
      addend.copy_rows(site, r.n, scratch.temp.data());
      other = scratch.temp.data();
      stride = c;
    }
    kernels_.binary({BinaryOp::kAdd, rows, c, true, other, stride, true, r.n, c, rows, c});
    rows += static_cast<int64_t>(r.n) * c;
  }
}

void SiteNode::count(std::span<const MapInput> in, const MapShape& shape, int64_t sites, int64_t active,
                     bool everything, bool fresh) {
  stats_.keyframes += everything;
  if (fresh) return;
  const double macs = macs_per_site(in, shape);
  stats_.sites += sites;
  stats_.active += active;
  stats_.macs_dense += static_cast<int64_t>(macs * static_cast<double>(sites));
  stats_.macs_done += static_cast<int64_t>(macs * static_cast<double>(active));
}

}  // namespace rrm
