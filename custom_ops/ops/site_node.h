// A node that computes rows of a resident tensor from rows of others: the driver of nearly every operator.
//
// A run, per batch row: lock, find what changed, spread it to the output (`reach`), compute those rows in blocks
// (`rows`), put them through activation and gate, store the new version. An operator supplies the virtual functions.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ops/map_state.h"
#include "ops/share.h"
#include "ops/ticket_node.h"

namespace rrm {

// A stretch of output sites that is computed at once.
struct Block {
  std::span<const Run> runs;
  int32_t sites;
  int64_t first = 0;          // of the run's active sites, its own first one
  const Run* next = nullptr;  // the run behind them: this thread's next, but where its last block ends
};

// Memory of one thread, kept between calls.
struct Scratch {
  Floats fresh;    // output rows of a block
  Floats temp;     // the operator's own
  Floats borders;  // copies of windows that hang over the edge
  Floats deltas;   // what the rows of a block changed by
  std::vector<const float*> pointers;
  std::vector<int32_t> lens;
  std::vector<float> weights;
  std::vector<uint64_t> bits, run_bits;
  std::vector<Run> kept;      // of a block: what narrow() left, sums to be made anew, or cells
  std::vector<float*> held;   // of the block's sites: the rows that the gate looks at next; empty without a gate
  std::vector<float*> apart;  // the same, where nobody else wants to know
  // A node's work, cut for its threads: the lead's.
  struct Cut {
    std::vector<Run> runs, pieces;
    std::vector<size_t> ends;  // of the blocks, in `pieces`
    std::vector<Block> blocks;
  } cut;
  const float* const* ahead() const { return held.empty() ? nullptr : held.data(); }
  static Scratch& of_thread();
};

// The activation that an operator ends with, and the parameters that it points into.
class FusedActivation {
 public:
  FusedActivation() = default;
  // kind, params: the attributes' names.
  void read(const Attributes& attributes, const char* kind = "activation", const char* params = "activation_params");
  void apply(const Kernels& kernels, float* rows, int32_t sites, int32_t channels) const {
    if (act_.kind != Act::kNone) kernels.activate(rows, sites, channels, act_);
  }
  Act kind() const { return act_.kind; }

 private:
  Activation act_{Act::kNone, 0, 0, nullptr};
  std::vector<float> params_;
};

// What an operator keeps per stream besides its resident tensor.
struct Extra {
  virtual ~Extra() = default;
  virtual int64_t bytes() const { return 0; }
  virtual int64_t output_bytes() const { return 0; }  // of these: rows of a layer
};

struct SiteState : MapState {
  std::vector<InputMemory> memory;
  ChangeMap active;
  std::unique_ptr<Extra> extra;
  std::atomic<float> inner_scale{0};  // of a gate inside the node
  // Runs in a row in which nearly every site was active and nearly every row changed.
  int32_t restless = 0;
  // Rows of all active sites, in their order, that prepare() made already.
  Floats early;
  int64_t early_sites = 0;
  double nanoseconds = 0;  // what the blocks of this run are estimated to take
  bool narrower = false;   // this run's factor asks for more than what is held may be good for
};

// to[m] = the row at the block's m-th site; first: that of the map's first site, pitch: floats from one to the next.
template <typename Float>
void point_rows(Float* first, int64_t pitch, int32_t width, const Block& block, Float** to);
// pointers[m] = row of `map` at the block's m-th site.
template <typename Float>
void point_rows(Resident& map, const Block& block, std::vector<Float*>& pointers) {
  pointers.resize(static_cast<size_t>(block.sites));
  point_rows<Float>(map.row(0), map.channels, map.width, block, pointers.data());
}
// Whether a block's rows are taken in one call, wherever they are: where its runs are short, each of them costs more
// than its rows do. (Rows of a picture or of a head are faster in runs.)
bool by_rows(const Block& block, int32_t channels, const GateLevel& level);

// Asks the first-level cache for what is touched soon: n floats, or n rows of so many.
void fetch_floats(const float* first, int64_t n);
void fetch_rows(const float* const* rows, int32_t n, int32_t floats);

// Takes a block's fresh rows into `map`, calls each(run, bits of the rows that replaced) for each of its runs, and
// returns how many did. held: the block's rows in the map, where they are known. deltas: null, or room for what the
// rows change by.
template <typename Each>
int64_t commit_block(const Kernels& kernels, const float* fresh, Resident& map, const Block& block,
                     const GateLevel& level, std::span<float* const> held, float* deltas, Scratch& scratch, Each each) {
  int64_t changed = 0;
  if (by_rows(block, map.channels, level) && deltas == nullptr) {
    if (held.empty()) point_rows(map, block, scratch.apart), held = scratch.apart;
    scratch.bits.resize(static_cast<size_t>(block.sites + 63) / 64);
    changed = kernels.commit_rows(
        {fresh, held.data(), block.sites, map.channels, level.gate, level.limit, scratch.bits.data()});
    int64_t first = 0;
    for (const Run& r : block.runs) {
      scratch.run_bits.resize(static_cast<size_t>(r.n + 63) / 64);
      copy_bits(scratch.bits.data(), first, r.n, scratch.run_bits.data());
      each(r, scratch.run_bits.data());
      first += r.n;
    }
    return changed;
  }
  for (const Run& r : block.runs) {
    scratch.bits.resize(static_cast<size_t>(r.n + 63) / 64);
    float* rows = map.row(static_cast<int64_t>(r.y) * map.width + r.x);
    const int64_t n =
        kernels.commit({fresh, rows, r.n, map.channels, level.gate, level.limit, scratch.bits.data(), deltas});
    each(r, scratch.bits.data());
    changed += n;
    fresh += static_cast<int64_t>(r.n) * map.channels;
    if (deltas != nullptr) deltas += n * map.channels;
  }
  return changed;
}

// What a run is about to do.
struct Update {
  GateLevel level;
  bool everything;  // every site is active
  bool fresh;       // what this node held is not to be trusted
  int64_t active;   // sites
};

// Sites of a block of rows of so many floats; tile: those that the kernels take at once.
int32_t block_sites(int32_t channels, int32_t tile);

class SiteNode : public TicketNode {
 public:
  // addend: a further map input, the last, of the output's size; its rows are added to what `rows` computes.
  SiteNode(const Attributes& attributes, const Kernels& kernels, size_t map_inputs, bool addend = false);
  void reset() override { streams_.drop_all(); }
  int64_t state_bytes() override;
  int64_t output_bytes() override;
  int64_t streams() override { return streams_.count(); }
  float threshold() const override { return gate_.threshold; }
  float scale() override { return gate_.scale; }
  float measured_scale(bool inner) override;
  bool set_gate(const GateAttributes& gate, const GateAttributes&) override {
    if (gated_) gate_ = gate;
    return gated_;
  }

 protected:
  enum Place : size_t { kOwn, kState, kResident, kMap, kNext, kActive, kMemory, kWeights = kMemory + 2 };
  virtual MapShape out_shape(std::span<const MapInput> in) const = 0;
  // Adds to `out` the output sites that depend on the set sites of input i's change map. False: all of them do.
  virtual bool reach(size_t i, const MapInput& in, const ChangeMap& changed, const MapShape& shape,
                     ChangeMap& out) const = 0;
  // Computes the rows of a block, one after the other, into out (block.sites * channels floats). Runs on any thread.
  virtual void rows(std::span<const MapInput> in, const MapShape& shape, const SiteState& state, const Block& block,
                    Scratch& scratch, float* out) const = 0;
  // Takes sites out of a block whose held rows stand after all; not where level.gate is kAll. `rows` computes what is
  // left. Runs on any thread.
  virtual Block narrow(std::span<const MapInput>, const MapShape&, SiteState&, const GateLevel& /*level*/,
                       const Block& block, Scratch&) {
    return block;
  }
  // Whether rows that are held may be further off than this factor allows: every site is active then.
  virtual bool narrows(const SiteState& state, float factor) const { return state.narrows(gate_, factor); }
  // After the blocks of a run that succeeded, on one thread.
  virtual void finished(SiteState&, bool /*fresh*/) {}
  // The widest rows that a block is made of, in floats.
  virtual int32_t widest(const MapShape& shape) const { return shape.channels; }
  // Before the blocks of a run; `active` and `nanoseconds` are set.
  virtual void prepare(Context&, std::span<const MapInput>, const MapShape&, SiteState&, const Update&) {}
  virtual double macs_per_site(std::span<const MapInput>, const MapShape&) const { return 0; }
  // Estimated work in nanoseconds, to decide on threads: memory traffic unless the operator knows better.
  virtual double nanoseconds_per_site(std::span<const MapInput> in, const MapShape& shape) const;

  // Whether the operator's kernels fetch Scratch::held themselves.
  virtual bool fetches(const SiteState&) const { return false; }

  // Called by constructors of gated and activated operators.
  void read_gate(const Attributes& attributes) {
    gate_ = GateAttributes(attributes);
    gated_ = true;
  }
  void read_activation(const Attributes& attributes) { activation_.read(attributes); }

 private:
  // What the rows of one block changed by.
  struct BlockDeltas {
    const float* rows = nullptr;
    double energy = 0;
  };
  size_t ticket_inputs(const Context&) const final { return map_inputs_; }
  Answer answer(Context& context, std::span<const Ticket> tickets) final;
  Answer answer_of(std::span<const MapInput> in, const MapShape& shape, const SiteState& state, const Ticket& like,
                   float turn) const;
  // Sets state.active; true when every site is active.
  bool find_active(std::span<const MapInput> in, const MapShape& shape, SiteState& state, bool everything);
  // Computes the active sites; the number of rows that changed.
  int64_t compute(Context& context, std::span<const MapInput> in, const MapShape& shape, SiteState& state,
                  const GateLevel& level, bool everything);
  // deltas: null, or the place for the address of what the block's rows changed by (null if none did).
  int64_t compute_block(std::span<const MapInput> in, const MapShape& shape, SiteState& state, const GateLevel& gate,
                        const Block& block, BlockDeltas* deltas);
  static void finish_deltas(const std::vector<Block>& blocks, const std::vector<BlockDeltas>& found,
                            const ChangeMap& changed, Resident& out);
  void note_footprint(const SiteState& state);
  void check_addend(const MapInput& addend, const MapShape& shape) const;
  // Adds the addend's rows to those of the block.
  void add(const MapInput& addend, const MapShape& shape, const Block& block, Scratch& scratch, float* rows) const;
  void count(std::span<const MapInput> in, const MapShape& shape, int64_t sites, int64_t active, bool everything,
             bool fresh);

  const size_t map_inputs_;  // the addend among them
  const bool addend_;
  GateAttributes gate_;
  bool gated_ = false;
  FusedActivation activation_;
  Streams<SiteState> streams_;
};

// activation, activation_params as the operators spell them.
Act parse_activation(const std::string& name);

}  // namespace rrm
