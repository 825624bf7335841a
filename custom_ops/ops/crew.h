// Threads of the runtime that stay for a while: waking one takes longer than a small layer does.
//
// A crew lives in one call of the runtime's parallel loop. The first thread that comes leads: it runs node after node.
// The others wait for its jobs until it is done: busily at first, asleep when nothing came for a while.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>

namespace rrm {

class Crew {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int32_t kMostHands = 32;
  using Body = void (*)(void* arg, int32_t i);

  // linger: how long a thread waits for a job before it sleeps. most: threads that take part, the lead among them; more
  // than processors would wait in each other's way.
  Crew(std::chrono::nanoseconds linger, int32_t most) : linger_(linger), most_(std::clamp(most, 1, kMostHands)) {}
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  // What each thread of the loop calls: the first runs lead(), the others work for it until it ends, however it ends.
  template <typename Lead>
  void join(Lead lead) {
    if (led_.exchange(true)) return help();
    struct Closing {
      Crew& crew;
      ~Closing() { crew.close(); }
    } closing{*this};
    lead();
  }

  // The rest is for the lead.

  // Calls body(arg, i) for i < tasks on all threads that are here; rethrows what a body threw.
  void run(int32_t tasks, Body body, void* arg);
  // Threads that take part at once in the next job, the lead among them. While nobody came, one is on its way.
  int32_t hands() const;
  // All that came sleep: the next job wakes them.
  bool asleep() const { return came_ > 0 && asleep_ == came_; }
  // Sends the others home; they need a moment.
  void close();
  bool gone() const { return closed_ && left_ == came_; }
  // Whether any thread came but the lead.
  bool anyone() const { return came_ > 0; }
  // Whether the lead had to wait for a thread that was taken off its processor in the middle of a task.
  bool stalled() const { return stalled_; }

 private:
  // The tasks of one hand, which takes them first: so it finds in its caches what it left there in the layer before and
  // in the frame before. Then it takes what others have not begun.
  struct alignas(64) Part {
    std::atomic<int32_t> next{0};
    int32_t end = 0;
  };
  struct Job {
    Body body = nullptr;
    void* arg = nullptr;
    int32_t hands = 0;
    std::atomic<bool> failed{false};
    std::exception_ptr first;
  };
  void help() noexcept;
  void take(int32_t hand) noexcept;
  void await(uint32_t seen);
  void wait_for_helpers(Clock::time_point start, Clock::time_point done);

  const std::chrono::nanoseconds linger_;
  const int32_t most_;
  bool stalled_ = false;
  std::atomic<bool> led_{false}, closed_{false};
  std::atomic<int32_t> came_{0}, left_{0};  // helpers so far
  std::atomic<int32_t> asleep_{0};
  Job job_;  // this and the parts: written while `open_` is false and nobody is inside
  std::array<Part, kMostHands> parts_;
  alignas(64) std::atomic<uint32_t> number_{0};  // of jobs so far, and of the close
  alignas(64) std::atomic<bool> open_{false};
  alignas(64) std::atomic<int32_t> inside_{0};  // helpers that may look at the job
  std::atomic<bool> lead_sleeps_{false};        // until nobody is inside
};

}  // namespace rrm
