// Where the time inside of the nodes goes: nanoseconds of each phase, summed over the threads. Off unless asked for
// (RrmQuery `phases`); then the clock is read a few times a block, which a small node feels.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace rrm {

enum class Phase : int32_t {
  kTickets,   // read and written, residents locked, versions compared: a node's own dispatch
  kTrack,     // what changed, spread to the output and cut into blocks; afterwards the new version
  kPointers,  // addresses of the rows that a block reads
  kGemm,      // matrix products, of either kernel
  kKernel,    // what other operators compute: depthwise, pooling, elementwise, ...
  kEpilogue,  // addend and activation
  kGate,      // fresh rows compared with those that are held, and stored; at Enter, the picture
  kCopy,      // Exit's output
  kWait,      // for the runtime's threads
};
constexpr std::array kPhaseNames = {"tickets",  "track", "pointers", "gemm", "kernel",
                                    "epilogue", "gate",  "copy",     "wait"};

struct Phases {
  std::atomic<bool> on{false};
  std::array<std::atomic<int64_t>, kPhaseNames.size()> nanoseconds{};
};

// A thread's: what lies between two laps belongs to the phase that the later one names.
class PhaseClock {
 public:
  static PhaseClock& of_thread() {
    thread_local PhaseClock clock;
    return clock;
  }
  void lap(Phase phase) {
    if (phases_ != nullptr) take(phase);
  }
  Phases* phases() const { return phases_; }

 private:
  friend class PhaseScope;
  using Time = std::chrono::steady_clock;
  void take(Phase phase) {
    const Time::time_point now = Time::now();
    phases_->nanoseconds[static_cast<size_t>(phase)] += std::chrono::nanoseconds(now - last_).count();
    last_ = now;
  }
  Phases* phases_ = nullptr;
  Time::time_point last_;
};

// This thread works for these phases; null, or off: it is not timed. Inside of another scope for the same phases that
// one's clock goes on.
class PhaseScope {
 public:
  explicit PhaseScope(Phases* phases) : clock_(PhaseClock::of_thread()), outer_(clock_.phases_) {
    clock_.phases_ = phases != nullptr && phases->on.load(std::memory_order_relaxed) ? phases : nullptr;
    if (clock_.phases_ != nullptr && clock_.phases_ != outer_) clock_.last_ = PhaseClock::Time::now();
  }
  ~PhaseScope() { clock_.phases_ = outer_; }
  PhaseScope(const PhaseScope&) = delete;
  PhaseScope& operator=(const PhaseScope&) = delete;

 private:
  PhaseClock& clock_;
  Phases* const outer_;
};

}  // namespace rrm
