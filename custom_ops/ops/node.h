// The part that all nodes share: streams, statistics, the version rule. Read this before any operator.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/table.h"
#include "ops/footprint.h"
#include "ops/gate.h"
#include "ops/interface.h"
#include "state/resident.h"
#include "state/ticket.h"

namespace rrm {

// Counted over runs since load or reset_stats. "Sites" are output sites of runs after the first of each stream.
struct Stats {
  std::atomic<int64_t> runs{0};
  std::atomic<int64_t> keyframes{0};
  std::atomic<int64_t> sites{0};
  std::atomic<int64_t> active{0};
  std::atomic<int64_t> changed{0};
  std::atomic<int64_t> macs_dense{0};
  std::atomic<int64_t> macs_done{0};
  std::atomic<int64_t> macs_added{0};  // of macs_done: by the residual kernel
  // Bytes read or written whatever changed: pictures compared, outputs copied, maps of bits cleared and searched.
  std::atomic<int64_t> swept_bytes{0};
  std::atomic<int64_t> nanoseconds{0};
  Phases phases;
  void clear();
};

// Counts a run, and adds the time between its construction and its end.
class RunClock {
 public:
  explicit RunClock(Stats& stats) : stats_(stats), start_(std::chrono::steady_clock::now()), scope_(&stats.phases) {}
  ~RunClock() {
    PhaseClock::of_thread().lap(Phase::kTickets);
    ++stats_.runs;
    stats_.nanoseconds += std::chrono::nanoseconds(std::chrono::steady_clock::now() - start_).count();
  }
  RunClock(const RunClock&) = delete;
  RunClock& operator=(const RunClock&) = delete;

 private:
  Stats& stats_;
  const std::chrono::steady_clock::time_point start_;
  const PhaseScope scope_;
};

class Node {
 public:
  Node(const Attributes& attributes, const Kernels& kernels) : name_(attributes.node_name()), kernels_(kernels) {}
  virtual ~Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  virtual void run(Context& context) = 0;
  virtual void reset() {}                       // forget all streams
  virtual int64_t state_bytes() { return 0; }   // of all streams
  virtual int64_t output_bytes() { return 0; }  // of these: rows of layers
  virtual int64_t weight_bytes() { return 0; }  // the node's own copy of its weights
  virtual int64_t streams() { return 0; }
  virtual float threshold() const { return 0; }
  virtual float scale() { return 0; }
  // Of a stream's first frame, at this gate or the one inside; 0: not measured.
  virtual float measured_scale(bool /*inner*/) { return 0; }
  // For calibration, while no run is in progress and before a reset. False: there is no gate.
  virtual bool set_gate(const GateAttributes&, const GateAttributes& /*inner*/) { return false; }

  const std::string& name() const { return name_; }
  const std::string& op() const { return op_; }
  void set_op(const char* op) { op_ = op; }
  Stats& stats() { return stats_; }
  const Footprint& footprint() const { return footprint_; }
  // Test hook: the count-th next run stops half-way with an error; 0 = never.
  void fail_after(int64_t count) { fail_.store(count); }

 protected:
  bool fails_now() { return fail_.load() > 0 && fail_.fetch_sub(1) == 1; }
  [[noreturn]] void fail(const std::string& what, const std::string& hint = {}) const;

  const std::string name_;
  const Kernels& kernels_;
  Stats stats_;
  Footprint footprint_;

 private:
  std::string op_;
  std::atomic<int64_t> fail_{0};
};

// A resident tensor read through a ticket's segment.
struct Piece {
  std::shared_ptr<Resident> resident;
  int32_t first;  // channels [first, first + count) of it
  int32_t count;
  bool changed = true;  // since this node read it last
};

// One input of one stream, resolved: where its rows are, and what changed since this node read it last.
struct MapInput {
  int32_t height = 0;
  int32_t width = 0;
  int32_t channels = 0;
  std::vector<Piece> pieces;
  bool everything = true;          // nothing is known: every site counts as changed
  const ChangeMap* one = nullptr;  // else: the changed sites, unless null (nothing changed) ...
  ChangeMap several;               // ... one points here when several pieces changed

  bool changed() const { return everything || one != nullptr; }
  int64_t sites() const { return static_cast<int64_t>(height) * width; }
  bool whole() const { return pieces.size() == 1 && pieces[0].count == pieces[0].resident->channels; }
  const float* row(const Piece& p, int64_t site) const {
    return p.resident->rows.data() + site * p.resident->channels + p.first;
  }
  // Copies rows [site, site + n) to out, n * channels floats.
  void copy_rows(int64_t site, int64_t n, float* out) const;
};

// What a node remembers of one input of one stream: residents it has met, and the version of each that it consumed.
class InputMemory {
 public:
  // Looks the ticket's segments up. Throws when one is gone.
  void resolve(const Ticket& ticket, MapInput& out);
  // Compares versions; fills everything / one / several. The residents must be locked.
  void compare(const Ticket& ticket, MapInput& out) const;
  // True when the ticket comes from other residents than before: upstream was reset.
  bool replaced(const Ticket& ticket) const;
  // To be called when the run has succeeded.
  void consumed(const Ticket& ticket);
  // Two places.
  void note(Footprint& footprint, size_t place) const {
    footprint.note(place, seen_.data(), seen_.size() * sizeof(Seen));
    footprint.note(place + 1, links_.data(), links_.size() * sizeof(links_[0]));
  }

 private:
  struct Seen {
    int64_t id;
    int64_t version;
  };
  int32_t height_ = 0;  // of the map that was seen: in another size the same bits mean other windows
  int32_t width_ = 0;
  std::vector<Seen> seen_;
  std::vector<std::shared_ptr<Resident>> links_;
};

// Shared locks on all residents of some inputs, each once.
class ReadLocks {
 public:
  explicit ReadLocks(std::span<const MapInput> inputs);

 private:
  std::vector<std::shared_lock<std::shared_mutex>> locks_;
};

// Streams of a node by id. State stays where it is once made.
template <typename State>
class Streams {
 public:
  std::shared_ptr<State> hold(int64_t id) {
    std::lock_guard lock(mutex_);
    auto& slot = states_[id];
    if (slot == nullptr) slot = std::make_shared<State>();
    return slot;
  }
  void drop(int64_t id) {
    std::lock_guard lock(mutex_);
    states_.erase(id);
  }
  void drop_all() {
    std::lock_guard lock(mutex_);
    states_.clear();
  }
  // Summed over the streams.
  int64_t sum(std::atomic<int64_t> State::* bytes) {
    std::lock_guard lock(mutex_);
    int64_t n = 0;
    for (auto& [id, state] : states_) n += (state.get()->*bytes).load();
    return n;
  }
  // One that is held, if any is.
  std::shared_ptr<State> some() {
    std::lock_guard lock(mutex_);
    return states_.empty() ? nullptr : states_.begin()->second;
  }
  int64_t count() {
    std::lock_guard lock(mutex_);
    return static_cast<int64_t>(states_.size());
  }

 private:
  std::mutex mutex_;
  std::unordered_map<int64_t, std::shared_ptr<State>> states_;
};

// What a user reads when a resident tensor is written and read by two runs.
extern const char kTwoRuns[];
extern const char kTwoRunsHint[];

}  // namespace rrm
