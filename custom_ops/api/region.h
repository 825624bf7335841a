// The nodes between two dense ones, run as one node of the runtime: no dispatch between them, and threads that are
// woken once a frame.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/adapter.h"
#include "ops/crew.h"

namespace rrm {

class Region {
 public:
  // info's attributes: `steps`, of step i s<i>_op, s<i>_name, s<i>_inputs and the operator's own as a<i>_<name>; inputs
  // count values: first those of the region, then one a step. `outputs`: the values that leave.
  Region(const ort::OrtApi& api, const ort::OrtKernelInfo* info, const Operator& op, const Kernels& kernels);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  void run(OrtContext& outer);

 private:
  static constexpr int32_t kInside = -1;
  struct Step {
    std::unique_ptr<Node> node;
    std::vector<int32_t> inputs;
    int32_t leaves = kInside;  // as which output of the region
    // Work for several threads in the last runs, in estimated nanoseconds. Runs of several streams share it: it is a
    // forecast, no result hangs on it.
    std::atomic<int64_t> shared{0};
  };
  struct Value {
    Dense dense;
    std::vector<int64_t> words;  // of a ticket that stays inside
  };
  // One run in progress.
  struct Frame {
    std::vector<Value> values;
    OrtContext* outer = nullptr;
    Crew* crew = nullptr;
    int64_t ahead = 0;  // forecast for the steps that are left
    int64_t met = 0;    // work for several threads met in this run since there was a crew
    bool alone = true;  // no crew is called
  };
  class StepContext;

  void set_outputs(size_t count, const std::vector<int64_t>& outputs, const std::vector<char>& kinds);
  // Runs steps from `first` on until all are done, or their crew is gone; returns the next.
  size_t advance(Frame& frame, size_t first);
  size_t advance_with_crew(Frame& frame, size_t first);
  void run_step(Frame& frame, size_t i);
  bool wants_crew(const Frame& frame, size_t i) const;
  void remember(const Crew& crew, Crew::Clock::duration lasted);
  std::unique_ptr<Frame> take_frame();
  void give_back(std::unique_ptr<Frame> frame);

  Group& group_;
  const std::chrono::nanoseconds linger_;
  const int32_t most_hands_;
  size_t inputs_;
  std::vector<std::unique_ptr<Step>> steps_;
  // Crews that did not pay: a session of one thread has nobody to send, and processors that others want, too, are left
  // to them. Runs without a crew that are left, and next time.
  static constexpr int64_t kShortRest = 128, kLongRest = 1024;
  std::atomic<int64_t> trouble_{0}, rest_{0}, next_rest_{kShortRest};
  CrewCounts counts_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Frame>> idle_;
};

}  // namespace rrm
