#include "api/region.h"

#include <thread>
#include <utility>

#if defined(__linux__)
#include <sched.h>
#endif

namespace rrm {
namespace {

constexpr char kAgain[] = "convert the model again with this version of rrm_onnx";
constexpr char kGiven = ' ';  // a value from outside of the region

// Less work than this, in estimated nanoseconds (which are rather too many), does not pay for waking a thread.
constexpr int64_t kWorthWaking = 120'000;

// Of a step's work in earlier runs, what is forgotten in each: where answers are held, much comes in every third frame.
constexpr int64_t kForgotten = 8;
// A thread that is to come at all comes within this time.
constexpr std::chrono::microseconds kLongEnough{250};
// Crews to which nobody came, or that were held up, count so much each, and a good one takes 1 back; beyond a limit
// some runs do without crews, each time twice as many.
constexpr int64_t kInVain = 16, kStalled = 64, kTooMuch = 128;

// A step's attributes among those of the region.
class StepAttributes final : public Attributes {
 public:
  StepAttributes(const OrtAttributes& all, size_t step)
      : all_(all),
        number_(std::to_string(step)),
        prefix_("a" + number_ + "_"),
        inputs_(all.integers(own("inputs").c_str())) {}
  std::string op() const { return all_.text(own("op").c_str()); }
  std::string node_name() const override { return all_.text(own("name").c_str()); }
  int64_t integer(const char* name) const override { return all_.integer((prefix_ + name).c_str()); }
  float real(const char* name) const override { return all_.real((prefix_ + name).c_str()); }
  std::string text(const char* name) const override { return all_.text((prefix_ + name).c_str()); }
  std::vector<int64_t> integers(const char* name) const override { return all_.integers((prefix_ + name).c_str()); }
  std::vector<float> reals(const char* name) const override { return all_.reals((prefix_ + name).c_str()); }
  Dense constant(size_t input) const override { return all_.constant(static_cast<size_t>(inputs_.at(input))); }
  const std::vector<int64_t>& inputs() const { return inputs_; }

 private:
  std::string own(const char* name) const { return "s" + number_ + "_" + name; }
  const OrtAttributes& all_;
  const std::string number_, prefix_;
  const std::vector<int64_t> inputs_;
};

// A step reads what the region is given or what earlier steps made, as many values as its operator takes and of their
// kinds. Of what the region is given the nodes look at the kind themselves.
void check_inputs(const StepAttributes& step, const std::string& letters, const std::vector<char>& kinds) {
  const std::vector<int64_t>& inputs = step.inputs();
  const bool any_number = letters == "v";
  bool fits = any_number ? !inputs.empty() : inputs.size() == letters.size();
  for (size_t i = 0; fits && i < inputs.size(); ++i) {
    fits = inputs[i] >= 0 && inputs[i] < static_cast<int64_t>(kinds.size());
    if (!fits) break;
    const char kind = kinds[inputs[i]], wanted = any_number ? 't' : letters[i];
    fits = kind == kGiven || kind == wanted || (kind == 'f' && wanted == 'x');
  }
  if (!fits) throw Error("rrm node '" + step.node_name() + "': its inputs are not those of its operator", kAgain);
}

// That this session may run on, as far as the thread that makes it may.
int32_t processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned known = std::thread::hardware_concurrency();  // 0: unknown
  return known == 0 ? Crew::kMostHands : static_cast<int32_t>(known);
}

}  // namespace

// What a step sees of the runtime.
class Region::StepContext final : public Context {
 public:
  StepContext(Frame& frame, const Region& region, Step& step, Value& out)
      : frame_(frame), region_(region), step_(step), out_(out) {}

  size_t inputs() const override { return step_.inputs.size(); }
  Dense input(size_t i) override {
    Value& value = frame_.values[step_.inputs[i]];
    const auto number = static_cast<size_t>(step_.inputs[i]);
    if (value.dense.data == nullptr && number < region_.inputs_) value.dense = frame_.outer->input(number);
    return value.dense;
  }
  float* output_f32(std::span<const int64_t> shape) override {
    return static_cast<float*>(leave(Dtype::kFloat, shape));
  }
  int64_t* output_i64(std::span<const int64_t> shape) override {
    if (step_.leaves != kInside) return static_cast<int64_t*>(leave(Dtype::kInt64, shape));
    out_.dense.dtype = Dtype::kInt64;
    out_.dense.shape = Dims(shape);
    out_.words.resize(static_cast<size_t>(out_.dense.count()));
    out_.dense.data = out_.words.data();
    return out_.words.data();
  }
  int32_t hands(double nanoseconds) override {
    shared_ = std::max(shared_, static_cast<int64_t>(nanoseconds));  // asked for the same work more than once
    return frame_.crew == nullptr ? 1 : frame_.crew->hands();
  }
  void parallel(int32_t tasks, void (*body)(void*, int32_t), void* arg) override {
    if (frame_.crew != nullptr) {
      frame_.crew->run(tasks, body, arg);
    } else {
      frame_.outer->parallel(tasks, body, arg);
    }
  }
  void foresee() override {
    const size_t next = static_cast<size_t>(&out_ - frame_.values.data()) + 1;
    if (next == frame_.values.size()) return;
    region_.steps_[next - region_.inputs_]->node->footprint().fetch();
    const std::vector<int64_t>& words = frame_.values[next].words;
    fetch_lines(words.data(), words.size() * sizeof(words[0]));
  }
  int64_t shared() const { return shared_; }

 private:
  void* leave(Dtype dtype, std::span<const int64_t> shape) {
    void* data = frame_.outer->output(static_cast<size_t>(step_.leaves), shape);
    out_.dense.dtype = dtype;
    out_.dense.shape = Dims(shape);
    out_.dense.data = data;
    return data;
  }

  Frame& frame_;
  const Region& region_;
  Step& step_;
  Value& out_;
  int64_t shared_ = 0;
};

Region::Region(const ort::OrtApi& api, const ort::OrtKernelInfo* info, const Operator& op, const Kernels& kernels)
    : group_(op.group), linger_(op.group.linger()), most_hands_(std::min(processors(), Crew::kMostHands)) {
  const OrtAttributes all(api, info);
  counts_.region = all.node_name();
  check(api, api.KernelInfo_GetInputCount(info, &inputs_));
  const int64_t n = all.integer("steps");
  std::vector<char> kinds(inputs_, kGiven);  // of the values: letters of ops.inc
  for (int64_t i = 0; i < n; ++i) {
    const StepAttributes attributes(all, static_cast<size_t>(i));
    const OperatorRow& row = operator_row(attributes.op());
    check_inputs(attributes, row.inputs, kinds);
    auto step = std::make_unique<Step>();
    step->node = row.factory(attributes, kernels);
    step->node->set_op(row.name);
    step->inputs.assign(attributes.inputs().begin(), attributes.inputs().end());
    steps_.push_back(std::move(step));
    kinds.push_back(row.output);
  }
  size_t outputs = 0;
  check(api, api.KernelInfo_GetOutputCount(info, &outputs));
  set_outputs(outputs, all.integers("outputs"), kinds);
  for (const auto& step : steps_) group_.nodes.add(step->node.get());
  group_.regions.add(&counts_);
}

void Region::set_outputs(size_t count, const std::vector<int64_t>& outputs, const std::vector<char>& kinds) {
  bool fits = outputs.size() == count;
  for (size_t k = 0; fits && k < count; ++k) {
    const int64_t i = outputs[k] - static_cast<int64_t>(inputs_);
    fits = i >= 0 && i < static_cast<int64_t>(steps_.size()) && steps_[i]->leaves == kInside;
    if (fits) steps_[i]->leaves = static_cast<int32_t>(k);
  }
  // Only tickets may stay inside.
  for (size_t i = 0; fits && i < steps_.size(); ++i) fits = steps_[i]->leaves != kInside || kinds[inputs_ + i] == 't';
  if (!fits) throw Error("rrm region '" + counts_.region + "': its outputs are not those of its steps", kAgain);
}

Region::~Region() {
  group_.regions.remove(&counts_);
  for (const auto& step : steps_) group_.nodes.remove(step->node.get());
}

std::unique_ptr<Region::Frame> Region::take_frame() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<Frame> frame = std::move(idle_.back());
      idle_.pop_back();
      return frame;
    }
  }
  auto frame = std::make_unique<Frame>();
  frame->values.resize(inputs_ + steps_.size());
  return frame;
}

void Region::give_back(std::unique_ptr<Frame> frame) {
  for (size_t i = 0; i < inputs_; ++i) frame->values[i].dense.data = nullptr;
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(frame));
}

void Region::run(OrtContext& outer) {
  std::unique_ptr<Frame> frame = take_frame();
  frame->outer = &outer;
  frame->crew = nullptr;
  frame->ahead = frame->met = 0;
  for (const auto& step : steps_) frame->ahead += step->shared;
  ++counts_.runs;
  frame->alone = linger_.count() == 0 || most_hands_ < 2 || rest_ > 0;
  if (rest_ > 0) {
    --rest_;
    ++counts_.rested;
  }
  for (size_t i = 0; i < steps_.size();) {
    i = wants_crew(*frame, i) ? advance_with_crew(*frame, i) : advance(*frame, i);
  }
  give_back(std::move(frame));
}

bool Region::wants_crew(const Frame& frame, size_t i) const {
  if (frame.alone) return false;
  return std::max(frame.ahead, frame.met) >= kWorthWaking && (steps_[i]->shared > 0 || frame.met >= kWorthWaking);
}

size_t Region::advance(Frame& frame, size_t first) {
  const FlushDenormals flush;  // whichever thread this is
  size_t i = first;
  do {
    run_step(frame, i++);
    if (Crew* crew = frame.crew; crew != nullptr && crew->asleep() && frame.ahead < kWorthWaking) crew->close();
  } while (i < steps_.size() && (frame.crew != nullptr ? !frame.crew->gone() : !wants_crew(frame, i)));
  return i;
}

size_t Region::advance_with_crew(Frame& frame, size_t first) {
  struct Section {
    Region& region;
    Frame& frame;
    Crew crew;
    size_t i;
  } section{*this, frame, Crew(linger_, most_hands_), first};
  const int64_t worth = std::max(frame.ahead, frame.met) / kWorthWaking;
  const Crew::Clock::time_point start = Crew::Clock::now();
  frame.crew = &section.crew;
  frame.outer->parallel(
      static_cast<int32_t>(std::min<int64_t>(1 + worth, most_hands_)),
      [](void* arg, int32_t) {
        auto& s = *static_cast<Section*>(arg);
        s.crew.join([&] { s.i = s.region.advance(s.frame, s.i); });
      },
      &section);
  frame.crew = nullptr;
  frame.met = 0;
  frame.alone = section.crew.stalled();
  remember(section.crew, Crew::Clock::now() - start);
  return section.i;
}

void Region::remember(const Crew& crew, Crew::Clock::duration lasted) {
  const bool vain = !crew.anyone() && lasted > kLongEnough;
  ++counts_.crews;
  counts_.vain += vain;
  counts_.stalled += crew.stalled();
  if (crew.stalled() || vain) {
    trouble_ += crew.stalled() ? kStalled : kInVain;
  } else {
    trouble_ = std::max<int64_t>(trouble_ - 1, 0);
    next_rest_ = std::max(next_rest_ - 1, kShortRest);
  }
  if (trouble_ <= kTooMuch) return;
  trouble_ = kTooMuch;  // after the rest, the next trouble is one too many
  rest_ = next_rest_.load();
  next_rest_ = std::min(2 * next_rest_, kLongRest);
}

void Region::run_step(Frame& frame, size_t i) {
  Step& step = *steps_[i];
  // What each step looks at first, whether it works or repeats itself.
  if (i + 3 < steps_.size()) fetch_lines(steps_[i + 3].get(), sizeof(Step));
  if (i + 2 < steps_.size()) fetch_lines(steps_[i + 2]->node.get(), Footprint::kObject);
  StepContext context(frame, *this, step, frame.values[inputs_ + i]);
  step.node->run(context);
  const int64_t before = step.shared;
  step.shared = std::max(context.shared(), before - before / kForgotten);
  frame.ahead -= before;
  frame.met += context.shared();
}

}  // namespace rrm
