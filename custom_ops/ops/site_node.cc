#include "ops/site_node.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>

namespace rrm {
namespace {

// A block's output rows stay in the first-level cache's neighbourhood: at most this many floats ...
constexpr int32_t kBlockFloats = 8 * 1024;
// ... but enough sites to fill register tiles many times, and few enough to keep the row pointers small.
constexpr int32_t kBlockMin = 24;
constexpr int32_t kBlockMax = 192;
// Waking the runtime's workers costs about this much; a part smaller than it is not worth a thread.
constexpr double kTaskNanoseconds = 40e3;
constexpr int32_t kMaxTasks = 16;

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
};

int32_t block_sites(int32_t channels, int32_t tile) {
  const int32_t sites = std::clamp(kBlockFloats / std::max(channels, 1), kBlockMin, kBlockMax);
  return std::max(sites / tile, 1) * tile;
}

// Cuts runs into blocks of at most `limit` sites; `runs` grows where a run is cut.
std::vector<Block> cut_blocks(const std::vector<Run>& runs, int32_t limit, std::vector<Run>& pieces) {
  struct Range {
    size_t first, end;
    int32_t sites;
  };
  std::vector<Range> ranges;
  Range open{0, 0, 0};
  for (const Run& r : runs) {
    for (int32_t x = r.x; x < r.x + r.n;) {
      const int32_t n = std::min(r.x + r.n - x, limit - open.sites);
      pieces.push_back({r.y, x, n});
      open.sites += n;
      x += n;
      if (open.sites == limit) {
        open.end = pieces.size();
        ranges.push_back(open);
        open = {pieces.size(), 0, 0};
      }
    }
  }
  if (open.sites > 0) {
    open.end = pieces.size();
    ranges.push_back(open);
  }
  std::vector<Block> blocks;
  blocks.reserve(ranges.size());
  for (const Range& r : ranges) blocks.push_back({std::span(pieces).subspan(r.first, r.end - r.first), r.sites});
  return blocks;
}

}  // namespace

Act parse_activation(const std::string& name) {
  for (const Name& n : kActivations) {
    if (n.text == name) return n.act;
  }
  throw Error("unknown activation '" + name + "'", "convert the model again with this version of rrm_onnx");
}

Scratch& Scratch::of_thread() {
  thread_local Scratch scratch;
  return scratch;
}

SiteNode::SiteNode(const Attributes& attributes, const Kernels& kernels, size_t map_inputs)
    : Node(attributes, kernels), map_inputs_(map_inputs) {}

void SiteNode::read_activation(const Attributes& attributes) {
  activation_params_ = attributes.reals("activation_params");
  activation_.kind = parse_activation(attributes.text("activation"));
  const auto param = [&](size_t i) { return i < activation_params_.size() ? activation_params_[i] : 0.0f; };
  activation_.a = param(0);
  activation_.b = param(1);
  if (activation_.kind == Act::kPRelu) {
    if (activation_params_.size() == 1) {
      activation_.kind = Act::kLeakyRelu;
    } else {
      activation_.slopes = activation_params_.data();
    }
  }
}

int64_t SiteNode::state_bytes() {
  int64_t n = 0;
  streams_.each([&](SiteState& s) { n += s.bytes.load(); });
  return n;
}

double SiteNode::nanoseconds_per_site(std::span<const MapInput> in, const MapShape& shape) const {
  int32_t floats = 2 * shape.channels;
  for (const MapInput& m : in) floats += m.channels;
  return 2.0 + 0.3 * floats + (activation_.kind >= Act::kSigmoid ? 1.0 * shape.channels : 0.0);
}

void SiteNode::run(Context& context) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::vector<Ticket>> inputs;
  for (size_t i = 0; i < map_inputs_; ++i) inputs.push_back(tickets_of(context, i, name_));
  const size_t batch = inputs[0].size();
  for (const auto& t : inputs) {
    if (t.size() != batch) fail("its inputs have different batch sizes");
  }
  std::vector<Ticket> row(map_inputs_);
  const std::array<int64_t, 2> shape = {static_cast<int64_t>(batch), ticket_words(1)};
  int64_t* words = context.output_i64(shape);
  for (size_t n = 0; n < batch; ++n) {
    for (size_t i = 0; i < map_inputs_; ++i) row[i] = std::move(inputs[i][n]);
    Ticket out;
    run_row(context, row, out);
    write_ticket(out, words + static_cast<int64_t>(n) * shape[1]);
  }
  ++stats_.runs;
  stats_.nanoseconds += std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count();
}

void SiteNode::run_row(Context& context, std::vector<Ticket>& tickets, Ticket& result) {
  const int64_t stream = tickets[0].stream;
  for (const Ticket& t : tickets) {
    if (t.stream != stream) fail("its inputs belong to different streams");
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

  const MapShape shape = out_shape(in);
  const bool fresh = state.begin(shape);
  if (fresh) state.active.resize(shape.height, shape.width);
  const bool narrower = state.narrows(gate_, tickets[0].tolerance);
  const bool everything = find_active(in, shape, state, fresh || narrower);
  const GateLevel gate = state.level(gate_, tickets[0].tolerance, fresh);
  const int64_t changed = compute(context, in, shape, state, gate, everything);
  state.finish(gate_, kernels_, changed, fresh);
  for (size_t i = 0; i < map_inputs_; ++i) state.memory[i].consumed(tickets[i]);
  state.bytes += state.active.bytes() + (state.extra ? state.extra->bytes() : 0);
  result = state.ticket(stream, tickets[0].tolerance);
}

bool SiteNode::find_active(std::span<const MapInput> in, const MapShape& shape, SiteState& state, bool everything) {
  bool any = false;
  for (const MapInput& m : in) {
    everything = everything || m.everything;
    any = any || m.changed();
  }
  state.active.clear();
  for (size_t i = 0; any && !everything && i < in.size(); ++i) {
    if (in[i].one != nullptr) everything = !reach(i, in[i], *in[i].one, shape, state.active);
  }
  if (everything) state.active.fill();
  return everything;
}

int64_t SiteNode::compute(Context& context, std::span<const MapInput> in, const MapShape& shape, SiteState& state,
                          const GateLevel& level, bool everything) {
  Resident& out = *state.out;
  const Gate gate = level.gate;
  std::vector<Run> runs;
  state.active.runs(runs);
  int64_t active = 0;
  for (const Run& r : runs) active += r.n;
  const double macs = macs_per_site(in, shape);
  stats_.keyframes += everything;
  if (gate != Gate::kAll) {
    stats_.sites += out.sites();
    stats_.active += active;
    stats_.macs_dense += static_cast<int64_t>(macs * static_cast<double>(out.sites()));
    stats_.macs_done += static_cast<int64_t>(macs * static_cast<double>(active));
  }
  if (active == 0) {
    if (fails_now()) fail("stopped by the test hook");
    return 0;
  }
  prepare(in, shape, state, gate == Gate::kAll);
  state.next.clear();
  std::vector<Run> pieces;
  std::vector<Block> blocks = cut_blocks(runs, block_sites(shape.channels, kernels_.gemm_tile), pieces);
  const bool broken = fails_now();
  if (broken) blocks.resize(blocks.size() / 2);

  const int64_t count = static_cast<int64_t>(blocks.size());
  const double total = nanoseconds_per_site(in, shape) * static_cast<double>(active);
  const int32_t tasks = static_cast<int32_t>(std::clamp<int64_t>(
      static_cast<int64_t>(total / kTaskNanoseconds), 1, std::min<int64_t>(kMaxTasks, std::max<int64_t>(count, 1))));
  std::atomic<int64_t> changed{0};
  auto work = [&](int32_t task) {
    const FlushDenormals flush;
    Scratch& scratch = Scratch::of_thread();
    int64_t mine = 0;
    for (int64_t b = count * task / tasks; b < count * (task + 1) / tasks; ++b) {
      const Block& block = blocks[b];
      const int64_t first = static_cast<int64_t>(block.runs[0].y) * shape.width + block.runs[0].x;
      const int64_t floats = static_cast<int64_t>(block.sites) * shape.channels;
      float* fresh = out.row(first);
      if (gate != Gate::kAll) {
        scratch.fresh.grow(floats);
        fresh = scratch.fresh.data();
      }
      rows(in, shape, state, block, scratch, fresh);
      if (activation_.kind != Act::kNone) kernels_.activate(fresh, block.sites, shape.channels, activation_);
      if (gate == Gate::kAll) continue;
      for (const Run& r : block.runs) {
        scratch.bits.resize(static_cast<size_t>(r.n + 63) / 64);
        const CommitArgs args{fresh,
                              out.row(static_cast<int64_t>(r.y) * shape.width + r.x),
                              r.n,
                              shape.channels,
                              gate,
                              level.limit,
                              scratch.bits.data()};
        const int64_t n = kernels_.commit(args);
        if (n > 0) state.next.merge(r.y, r.x, r.n, scratch.bits.data());
        mine += n;
        fresh += static_cast<int64_t>(r.n) * shape.channels;
      }
    }
    changed += mine;
  };
  parallel(context, tasks, work);
  if (broken) fail("stopped by the test hook");
  if (gate == Gate::kAll) {
    state.next.fill();
    changed = out.sites();
  } else {
    stats_.changed += changed.load();
  }
  return changed.load();
}

}  // namespace rrm
