// The nodes of all sessions that share one registration of the library: what RrmQuery's `stats` and `reset` speak of.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ops/node.h"

namespace rrm {

// What a region's crews did; see ops/crew.h.
struct CrewCounts {
  std::string region;
  std::atomic<int64_t> runs{0};     // of the region
  std::atomic<int64_t> crews{0};    // called
  std::atomic<int64_t> vain{0};     // of these: nobody came
  std::atomic<int64_t> stalled{0};  // of these: the lead had to wait for a thread that had lost its processor
  std::atomic<int64_t> rested{0};   // runs that did without, for too many were of either kind
};

// Things of one kind that come and go, in the order in which they came.
template <typename T>
class Members {
 public:
  void add(T* member) {
    const std::lock_guard lock(mutex_);
    members_.push_back(member);
  }
  void remove(T* member) noexcept {
    const std::lock_guard lock(mutex_);
    members_.erase(std::remove(members_.begin(), members_.end(), member), members_.end());
  }
  template <typename Visit>
  void each(Visit visit) {
    const std::lock_guard lock(mutex_);
    for (T* member : members_) visit(*member);
  }

 private:
  std::mutex mutex_;
  std::vector<T*> members_;
};

class Group {
 public:
  Group(int64_t id, const Kernels& kernels, std::chrono::nanoseconds linger)
      : id_(id), kernels_(kernels), linger_(linger) {}

  int64_t id() const { return id_; }
  const Kernels& kernels() const { return kernels_; }
  // How long threads wait busily for a region's next work.
  std::chrono::nanoseconds linger() const { return linger_; }

  Members<Node> nodes;
  Members<CrewCounts> regions;

 private:
  const int64_t id_;
  const Kernels& kernels_;
  const std::chrono::nanoseconds linger_;
};

// All groups, for ever: onnxruntime keeps pointers to a group's operators as long as it likes.
class Groups {
 public:
  static Groups& instance() {
    static Groups* groups = new Groups;
    return *groups;
  }
  Group& create(const Kernels& kernels, std::chrono::nanoseconds linger) {
    const std::lock_guard lock(mutex_);
    const int64_t id = static_cast<int64_t>(groups_.size()) + 1;
    return *groups_.emplace(id, std::make_unique<Group>(id, kernels, linger)).first->second;
  }
  Group* find(int64_t id) {
    const std::lock_guard lock(mutex_);
    const auto it = groups_.find(id);
    return it == groups_.end() ? nullptr : it->second.get();
  }

  // The group of this thread's newest registration; 0 before the first.
  static int64_t& newest() {
    thread_local int64_t id = 0;
    return id;
  }

 private:
  std::mutex mutex_;
  std::map<int64_t, std::unique_ptr<Group>> groups_;
};

// The level to use: the one asked for by RRM_ISA or the argument, else the best. Throws when it cannot run here.
const Kernels& choose_kernels(const char* asked);

}  // namespace rrm
