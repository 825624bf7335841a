// A node that computes rows of a resident tensor from rows of others: the driver of nearly every operator.
//
// A run, per batch row: lock, find what changed, spread it to the output (`reach`), compute those rows in blocks
// (`rows`), put them through activation and gate, store the new version. An operator supplies the virtual functions.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ops/block.h"
#include "ops/map_state.h"
#include "ops/share.h"
#include "ops/ticket_node.h"

namespace rrm {

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

// What a run is about to do.
struct Update {
  GateLevel level;
  bool everything;            // every site is active
  bool fresh;                 // what this node held is not to be trusted
  int64_t active;             // sites ...
  std::span<const Run> runs;  // ... and where they are
};

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
  enum Place : size_t { kOwn, kState, kResident, kMap, kNext, kActive, kMemory };
  virtual MapShape out_shape(std::span<const MapInput> in) const = 0;
  // Adds to `out` the output sites that depend on the set sites of input i's change map. False: all of them do.
  virtual bool reach(size_t i, const MapInput& in, const ChangeMap& changed, const MapShape& shape,
                     ChangeMap& out) const = 0;
  // Computes the rows of a block, one after the other, into out (block.sites * channels floats). Runs on any thread.
  virtual void rows(std::span<const MapInput> in, const MapShape& shape, const SiteState& state, const Block& block,
                    Scratch& scratch, float* out) const = 0;
  // Takes sites out of a block whose held rows stand after all; not where level.gate is kAll. `rows` computes what is
  // left. Runs on any thread. Not together with rows that prepare() makes: those are of whole blocks.
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
