#include "ops/crew.h"

#include <thread>
#include <utility>

#if defined(__linux__)
#include <sched.h>
#endif

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace rrm {
namespace {

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constexpr int32_t kPausesBetweenLooks = 16;
// How much longer than the lead itself a helper may take before it counts as taken off its processor.
constexpr std::chrono::microseconds kPatience{100};

// That this process may run on.
int32_t processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int32_t>(std::thread::hardware_concurrency());  // 0: unknown
}

}  // namespace

int32_t Crew::most_hands() {
  static const int32_t most = std::clamp(processors(), 2, kMostHands);
  return most;
}

void Crew::take(int32_t hand) noexcept {
  for (int32_t k = 0; k < job_.hands; ++k) {
    Part& part = parts_[(hand + k) % job_.hands];
    for (int32_t i; (i = part.next.fetch_add(1)) < part.end;) {
      try {
        job_.body(job_.arg, i);
      } catch (...) {
        if (!job_.failed.exchange(true)) job_.first = std::current_exception();
      }
    }
  }
}

// False: go home.
bool Crew::await(uint32_t seen) const {
  const Clock::time_point start = Clock::now();
  for (int32_t n = 1; number_.load(std::memory_order_acquire) == seen; ++n) {
    if (closed_.load(std::memory_order_relaxed) || dismissed_.load(std::memory_order_relaxed)) return false;
    pause();
    if (n % kPausesBetweenLooks == 0 && Clock::now() - start > linger_) return false;
  }
  return true;
}

void Crew::help() noexcept {
  if (closed_ || dismissed_) return;
  const int32_t hand = ++came_;
  if (hand >= most_hands()) return;
  for (uint32_t seen = 0; await(seen);) {
    seen = number_;
    // The lead closes a job and then waits until nobody is inside: who finds it open may look at it.
    ++inside_;
    if (open_) take(hand);
    if (--inside_ == 0 && asleep_) inside_.notify_one();
  }
  if (!closed_) dismissed_ = true;
}

void Crew::run(int32_t tasks, Body body, void* arg) {
  const Clock::time_point start = Clock::now();
  job_.body = body;
  job_.arg = arg;
  job_.hands = std::min(hands(), tasks);
  job_.failed = false;
  job_.first = nullptr;
  for (int32_t h = 0; h < job_.hands; ++h) {
    parts_[h].next = tasks * h / job_.hands;
    parts_[h].end = tasks * (h + 1) / job_.hands;
  }
  open_ = true;
  ++number_;
  take(0);
  open_ = false;
  wait_for_helpers(start, Clock::now());
  if (job_.failed) std::rethrow_exception(std::exchange(job_.first, nullptr));
}

void Crew::wait_for_helpers(Clock::time_point start, Clock::time_point done) {
  const Clock::duration patience = kPatience + (done - start);
  for (int32_t n = 1; inside_ != 0; ++n) {
    pause();
    if (n % kPausesBetweenLooks != 0 || Clock::now() - done < patience) continue;
    // An idle processor may take the thread over.
    stalled_ = dismissed_ = true;
    asleep_ = true;
    for (int32_t left; (left = inside_) != 0;) inside_.wait(left);
    asleep_ = false;
  }
}

}  // namespace rrm
