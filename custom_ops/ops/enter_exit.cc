// The borders of a region. Enter compares a dense tensor with the one it holds; Exit writes a resident tensor out.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "ops/factories.h"
#include "ops/map_state.h"
#include "ops/site_node.h"

namespace rrm {
namespace {

// A float compared or copied, in nanoseconds: what share_work makes of it is worth it for pictures from 128 K floats on
// where threads have to be woken.
constexpr double kFloatNanoseconds = 0.5;

int32_t tasks_for(Context& context, int64_t floats, int32_t rows) {
  return share_work(context, kFloatNanoseconds * static_cast<double>(floats), rows).tasks;
}

struct EnterState : MapState {
  int64_t frames = 0;
};

class Enter : public Node {
 public:
  Enter(const Attributes& attributes, const Kernels& kernels)
      : Node(attributes, kernels),
        channels_last_(attributes.integer("channels_last") != 0),
        gate_(attributes),
        drift_(attributes.real("drift")),
        period_(attributes.integer("period")) {}

  void run(Context& context) override {
    const RunClock clock(stats_);
    context.foresee();
    const Dense x = context.input(0);
    if (x.dtype != Dtype::kFloat && x.dtype != Dtype::kUint8) fail("its input is neither float32 nor uint8");
    if (x.shape.size() != 4) fail("its input has " + std::to_string(x.shape.size()) + " dimensions instead of 4");
    for (int64_t d : x.shape) {
      if (d < 1 || d > 1 << 24) fail("its input has an empty or an enormous dimension");
    }
    const MapShape shape = {static_cast<int32_t>(x.shape[channels_last_ ? 1 : 2]),
                            static_cast<int32_t>(x.shape[channels_last_ ? 2 : 3]),
                            static_cast<int32_t>(x.shape[channels_last_ ? 3 : 1])};
    const std::array<int64_t, 2> words = {x.shape[0], ticket_words(1)};
    const std::vector<int64_t> ids = streams_of(context, x.shape[0]);
    const float factor = factor_of(context);
    if (reset_of(context)) {
      for (int64_t id : ids) streams_.drop(id);
    }
    int64_t* out = context.output_i64(words);
    const int64_t floats = static_cast<int64_t>(shape.height) * shape.width * shape.channels;
    for (int64_t n = 0; n < x.shape[0]; ++n, out += words[1]) {
      const size_t size = x.dtype == Dtype::kFloat ? sizeof(float) : 1;
      Dense picture = x;
      picture.data = x.as<char>() + static_cast<size_t>(n * floats) * size;
      write_ticket(enter(context, picture, shape, ids[n], factor), out);
    }
  }

  void reset() override { streams_.drop_all(); }
  int64_t streams() override { return streams_.count(); }
  int64_t state_bytes() override { return streams_.sum(&EnterState::bytes); }
  int64_t output_bytes() override { return streams_.sum(&EnterState::output_bytes); }
  float threshold() const override { return gate_.threshold; }
  float scale() override { return gate_.scale; }
  float measured_scale(bool inner) override {
    const std::shared_ptr<EnterState> state = streams_.some();
    return state == nullptr || inner ? 0.0f : state->scale.load();
  }
  bool set_gate(const GateAttributes& gate, const GateAttributes& turns) override {
    gate_ = gate;
    drift_ = turns.threshold;
    period_ = static_cast<int64_t>(turns.scale);
    return true;
  }

 protected:
  virtual std::vector<int64_t> streams_of(Context&, int64_t batch) const {
    std::vector<int64_t> ids(static_cast<size_t>(batch));
    for (int64_t i = 0; i < batch; ++i) ids[i] = i;
    return ids;
  }
  virtual float factor_of(Context&) const { return 1.0f; }
  virtual bool reset_of(Context&) const { return false; }

 private:
  Ticket enter(Context& context, const Dense& x, const MapShape& shape, int64_t stream, float factor) {
    const std::shared_ptr<EnterState> held = streams_.hold(stream);
    EnterState& state = *held;
    const std::unique_lock own = state.lock();
    const bool fresh = state.begin(shape);
    const int64_t floats = state.out->rows.size();
    const float turn = period_ > 1 && state.frames++ % period_ == 0 ? drift_ : 1.0f;
    const GateLevel level = state.level(gate_, factor, turn, fresh);
    state.next.clear();
    PhaseClock::of_thread().lap(Phase::kTickets);
    const int32_t rows = fails_now() ? shape.height / 2 : shape.height;
    const int32_t tasks = tasks_for(context, floats, shape.height);
    std::atomic<int64_t> changed{0};
    parallel(context, tasks, [&](int32_t task) {
      const FlushDenormals flush;
      int64_t mine = 0;
      for (int32_t y = rows * task / tasks; y < rows * (task + 1) / tasks; ++y) {
        mine += channels_last_ ? rows_last(x, shape, state, level, y) : rows_planar(x, shape, state, level, y);
      }
      changed += mine;
      PhaseClock::of_thread().lap(Phase::kGate);
    });
    if (rows != shape.height) fail("stopped by the test hook");
    stats_.keyframes += fresh;
    stats_.swept_bytes += 2 * floats * static_cast<int64_t>(sizeof(float));
    if (!fresh) {
      stats_.sites += state.out->sites();
      stats_.active += state.out->sites();
      stats_.changed += changed.load();
    }
    state.finish(gate_, kernels_, changed.load(), fresh);
    return state.ticket(stream, factor, turn);
  }

  int64_t rows_planar(const Dense& x, const MapShape& shape, EnterState& state, const GateLevel& level,
                      int32_t y) const {
    const int64_t plane = static_cast<int64_t>(shape.height) * shape.width, at = static_cast<int64_t>(y) * shape.width;
    CommitPlanarArgs args{};
    Scratch& scratch = Scratch::of_thread();
    if (x.dtype == Dtype::kFloat) {
      args.x = x.as<float>() + at;
      args.plane = plane;
    } else {
      scratch.temp.grow(static_cast<int64_t>(shape.width) * shape.channels);
      for (int32_t c = 0; c < shape.channels; ++c) {
        kernels_.u8_to_f32(x.as<uint8_t>() + c * plane + at, shape.width, scratch.temp.data() + c * shape.width);
      }
      args.x = scratch.temp.data();
      args.plane = shape.width;
    }
    scratch.fresh.grow(int64_t{kPlanarSites} * shape.channels);
    args.room = scratch.fresh.data();
    args.held = state.out->row(at);
    args.sites = shape.width;
    args.c = shape.channels;
    args.gate = level.gate;
    args.limit = level.limit;
    args.bits = state.next.row(y);  // a row of the map is words of its own: no other task writes them
    return kernels_.commit_planar(args);
  }

  int64_t rows_last(const Dense& x, const MapShape& shape, EnterState& state, const GateLevel& level, int32_t y) const {
    const int64_t site = static_cast<int64_t>(y) * shape.width,
                  floats = static_cast<int64_t>(shape.width) * shape.channels;
    const float* fresh = nullptr;
    if (x.dtype == Dtype::kFloat) {
      fresh = x.as<float>() + site * shape.channels;
    } else {
      Scratch& scratch = Scratch::of_thread();
      scratch.temp.grow(floats);
      kernels_.u8_to_f32(x.as<uint8_t>() + site * shape.channels, floats, scratch.temp.data());
      fresh = scratch.temp.data();
    }
    return kernels_.commit({fresh, state.out->row(site), shape.width, shape.channels, level.gate, level.limit,
                            state.next.row(y), nullptr});
  }

  const bool channels_last_;
  GateAttributes gate_;
  float drift_;
  int64_t period_;
  Streams<EnterState> streams_;
};

// Enter with the stream ids, the reset flag and the tolerance factor as inputs.
class EnterStream final : public Enter {
 public:
  using Enter::Enter;

 protected:
  std::vector<int64_t> streams_of(Context& context, int64_t batch) const override {
    const Dense ids = context.input(1);
    if (ids.dtype != Dtype::kInt64 || ids.count() != batch) {
      fail("rrm_stream has " + std::to_string(ids.count()) + " ids for a batch of " + std::to_string(batch),
           "feed one int64 stream id per picture of the batch");
    }
    std::vector<int64_t> out(ids.as<int64_t>(), ids.as<int64_t>() + batch);
    std::vector<int64_t> sorted = out;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
      fail("rrm_stream names one stream twice", "feed a different id for each picture of the batch");
    }
    return out;
  }
  bool reset_of(Context& context) const override {
    const Dense reset = context.input(2);
    if (reset.dtype != Dtype::kBool || reset.count() != 1) fail("rrm_reset must be one bool");
    return *reset.as<bool>();
  }
  float factor_of(Context& context) const override {
    const Dense tolerance = context.input(3);
    if (tolerance.dtype != Dtype::kFloat || tolerance.count() != 1) fail("rrm_tolerance must be one float32");
    const float factor = *tolerance.as<float>();
    if (!(factor >= 0) || std::isinf(factor)) fail("rrm_tolerance must be a finite number, 0 or more");
    return factor;
  }
};

struct ExitState {
  std::mutex mutex;
  InputMemory memory;
  // The output of the version in `memory`, planar, made when a second frame asks for it: while nothing changes, copying
  // is several times faster than turning rows into planes.
  Floats planar;
  bool planar_valid = false;
  std::atomic<int64_t> bytes{0};
};

class Exit final : public Node {
 public:
  Exit(const Attributes& attributes, const Kernels& kernels)
      : Node(attributes, kernels), channels_last_(attributes.integer("channels_last") != 0) {}

  void run(Context& context) override {
    const RunClock clock(stats_);
    const std::vector<Ticket> tickets = tickets_of(context, 0, name_);
    if (tickets.empty()) fail("an empty batch");
    const int64_t h = tickets[0].height, w = tickets[0].width, c = tickets[0].channels(), n = tickets.size();
    const std::array<int64_t, 4> shape = channels_last_ ? std::array{n, h, w, c} : std::array{n, c, h, w};
    float* out = context.output_f32(shape);
    for (const Ticket& t : tickets) {
      if (t.height != h || t.width != w || t.channels() != c) fail("its batch rows have different sizes");
      write(context, t, out);
      out += h * w * c;
    }
    if (fails_now()) fail("stopped by the test hook");
  }

  void reset() override { streams_.drop_all(); }
  int64_t streams() override { return streams_.count(); }
  int64_t state_bytes() override { return streams_.sum(&ExitState::bytes); }

 private:
  void write(Context& context, const Ticket& ticket, float* out) {
    const std::shared_ptr<ExitState> state = streams_.hold(ticket.stream);
    const std::unique_lock own(state->mutex, std::try_to_lock);
    if (!own.owns_lock()) throw Error(kTwoRuns, kTwoRunsHint);
    MapInput in;
    state->memory.resolve(ticket, in);
    const ReadLocks locks(std::span(&in, 1));
    state->memory.compare(ticket, in);
    const bool same = !in.changed();
    const int64_t floats = in.sites() * in.channels;
    stats_.swept_bytes += 2 * floats * static_cast<int64_t>(sizeof(float));
    if (!same) state->planar_valid = false;
    PhaseClock::of_thread().lap(Phase::kTickets);
    if (same && state->planar_valid) {
      copy_flat(context, state->planar.data(), floats, out);
      return;
    }
    copy_out(context, in, out);
    if (same && !channels_last_) {
      state->planar.resize(floats);
      std::memcpy(state->planar.data(), out, static_cast<size_t>(floats) * sizeof(float));
      state->bytes = state->planar.bytes();
    }
    state->planar_valid = same && !channels_last_;
    state->memory.consumed(ticket);
  }

  static void copy_flat(Context& context, const float* from, int64_t floats, float* out) {
    const int32_t tasks = tasks_for(context, floats, kMostTasks);
    parallel(context, tasks, [&](int32_t task) {
      const int64_t first = floats * task / tasks, end = floats * (task + 1) / tasks;
      std::memcpy(out + first, from + first, static_cast<size_t>(end - first) * sizeof(float));
      PhaseClock::of_thread().lap(Phase::kCopy);
    });
  }

  void copy_out(Context& context, const MapInput& in, float* out) const {
    const int64_t plane = in.sites();
    const int32_t tasks = tasks_for(context, plane * in.channels, in.height);
    parallel(context, tasks, [&](int32_t task) {
      const int32_t first = in.height * task / tasks, end = in.height * (task + 1) / tasks;
      const int64_t at = static_cast<int64_t>(first) * in.width, sites = static_cast<int64_t>(end - first) * in.width;
      if (channels_last_) {
        in.copy_rows(at, sites, out + at * in.channels);
      } else {
        to_planes(in, at, sites, out + at);
      }
      PhaseClock::of_thread().lap(Phase::kCopy);
    });
  }

  void to_planes(const MapInput& in, int64_t site, int64_t sites, float* out) const {
    const int64_t plane = in.sites();
    for (const Piece& p : in.pieces) {
      kernels_.to_planar(in.row(p, site), p.resident->channels, static_cast<int32_t>(sites), p.count, out, plane);
      out += p.count * plane;
    }
  }

  const bool channels_last_;
  Streams<ExitState> streams_;
};

}  // namespace

std::unique_ptr<Node> make_enter(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Enter>(attributes, kernels);
}

std::unique_ptr<Node> make_enter_stream(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<EnterStream>(attributes, kernels);
}

std::unique_ptr<Node> make_exit(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Exit>(attributes, kernels);
}

}  // namespace rrm
