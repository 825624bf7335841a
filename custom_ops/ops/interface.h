// What a node may ask of the runtime. api/ implements it on ONNX Runtime's C API; nothing below api/ knows that API.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ops/phases.h"
#include "state/error.h"

namespace rrm {

enum class Dtype { kFloat, kUint8, kInt64, kBool, kOther };

// Sizes of a tensor. They lie in place: every node looks at some in every run.
class Dims {
 public:
  static constexpr size_t kMax = 8;
  Dims() = default;
  explicit Dims(std::span<const int64_t> sizes) {
    resize(sizes.size());
    std::copy(sizes.begin(), sizes.end(), sizes_.begin());
  }
  void resize(size_t n) {
    if (n > kMax) throw Error("rrm: a tensor of more than 8 dimensions");
    size_ = n;
  }
  size_t size() const { return size_; }
  int64_t* data() { return sizes_.data(); }
  int64_t operator[](size_t i) const { return sizes_[i]; }
  const int64_t* begin() const { return sizes_.data(); }
  const int64_t* end() const { return sizes_.data() + size_; }

 private:
  std::array<int64_t, kMax> sizes_{};
  size_t size_ = 0;
};

// A dense tensor of the runtime's; the data belongs to it.
struct Dense {
  const void* data = nullptr;
  Dtype dtype = Dtype::kOther;
  Dims shape;

  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
  int64_t count() const {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }
};

// A node's attributes and constant inputs, while it is made. Every getter throws Error when the attribute is missing.
class Attributes {
 public:
  virtual ~Attributes() = default;
  virtual std::string node_name() const = 0;
  virtual int64_t integer(const char* name) const = 0;
  virtual float real(const char* name) const = 0;
  virtual std::string text(const char* name) const = 0;
  virtual std::vector<int64_t> integers(const char* name) const = 0;
  virtual std::vector<float> reals(const char* name) const = 0;
  virtual Dense constant(size_t input) const = 0;  // throws when the input is not a constant
};

// One run of one node.
class Context {
 public:
  virtual ~Context() = default;
  virtual size_t inputs() const = 0;
  virtual Dense input(size_t i) = 0;
  virtual float* output_f32(std::span<const int64_t> shape) = 0;
  virtual int64_t* output_i64(std::span<const int64_t> shape) = 0;
  // Told by a node that has work to do (and does not repeat its last answer): the next one will, too, most likely.
  virtual void foresee() {}
  // Threads that take up a part of so much work at once, this one included. 1: the others are to be woken first.
  virtual int32_t hands(double /*nanoseconds*/) { return 1; }
  // Calls body(arg, i) for i < tasks on the runtime's own threads, this one included; rethrows what a body threw.
  virtual void parallel(int32_t tasks, void (*body)(void*, int32_t), void* arg) = 0;
};

template <typename Body>
void parallel(Context& context, int32_t tasks, Body&& body) {
  if (tasks == 1) {
    body(0);
    return;
  }
  PhaseClock& clock = PhaseClock::of_thread();
  Phases* const phases = clock.phases();
  auto task = [&](int32_t i) {
    const PhaseScope scope(phases);
    PhaseClock::of_thread().lap(Phase::kWait);
    body(i);
  };
  context.parallel(tasks, [](void* arg, int32_t i) { (*static_cast<decltype(task)*>(arg))(i); }, &task);
  clock.lap(Phase::kWait);
}

}  // namespace rrm
