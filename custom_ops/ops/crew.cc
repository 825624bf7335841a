#include "ops/crew.h"

#include <utility>

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

}  // namespace

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

int32_t Crew::hands() const {
  if (closed_ || asleep()) return 1;
  return std::clamp(came_ + 1, std::min(2, most_), most_);
}

// Until there is another job, or the crew is closed.
void Crew::await(uint32_t seen) {
  const Clock::time_point start = Clock::now();
  for (int32_t n = 1; number_.load(std::memory_order_acquire) == seen; ++n) {
    pause();
    if (n % kPausesBetweenLooks != 0 || Clock::now() - start < linger_) continue;
    ++asleep_;
    number_.wait(seen);
    --asleep_;
  }
}

void Crew::help() noexcept {
  if (closed_) return;
  const int32_t hand = ++came_;
  for (uint32_t seen = 0; hand < most_ && !closed_;) {
    await(seen);
    seen = number_;
    // The lead closes a job and then waits until nobody is inside: who finds it open may look at it.
    ++inside_;
    if (open_) take(hand);
    if (--inside_ == 0 && lead_sleeps_) inside_.notify_one();
  }
  ++left_;
}

void Crew::close() {
  closed_ = true;
  ++number_;
  if (asleep_ > 0) number_.notify_all();
}

void Crew::run(int32_t tasks, Body body, void* arg) {
  const Clock::time_point start = Clock::now();
  job_.body = body;
  job_.arg = arg;
  job_.hands = std::clamp(came_ + 1, 1, std::min(tasks, most_));
  job_.failed = false;
  job_.first = nullptr;
  for (int32_t h = 0; h < job_.hands; ++h) {
    parts_[h].next = tasks * h / job_.hands;
    parts_[h].end = tasks * (h + 1) / job_.hands;
  }
  open_ = true;
  ++number_;
  if (asleep_ > 0) number_.notify_all();
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
    stalled_ = true;
    lead_sleeps_ = true;
    for (int32_t left; (left = inside_) != 0;) inside_.wait(left);
    lead_sleeps_ = false;
    close();
  }
}

}  // namespace rrm
