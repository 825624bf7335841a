// Many threads on one set of nodes, without onnxruntime: for the sanitizers (see tests/stress/README.md).
//
// A small network (Enter, Conv, MaxPool, two Convs side by side, Concat, global pooling, product, Exit) is made once,
// and once more with gates that hold next to nothing back. Threads run both side by side: some each on a stream of
// their own, where every output must equal that of a stream that has seen only this frame (with gates: but for
// rounding); and some all on one stream, where a run may also end in the error "two runs use one stream". Most runs
// have a crew.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "ops/crew.h"
#include "ops/factories.h"
#include "state/error.h"

namespace {

using namespace rrm;

constexpr int64_t kH = 48, kW = 130, kC = 3;

struct Tensor {
  Dtype dtype = Dtype::kFloat;
  std::vector<int64_t> shape;
  std::vector<float> f;
  std::vector<int64_t> i;
  std::vector<uint8_t> b;
  Dense dense() const {
    Dense d;
    d.dtype = dtype;
    d.shape = Dims(shape);
    d.data = dtype == Dtype::kFloat   ? static_cast<const void*>(f.data())
             : dtype == Dtype::kInt64 ? static_cast<const void*>(i.data())
                                      : b.data();
    return d;
  }
};

class Given final : public Attributes {
 public:
  std::string name;
  std::map<std::string, std::vector<int64_t>> ints;
  std::map<std::string, std::vector<float>> floats;
  std::map<std::string, std::string> texts;
  std::map<size_t, Tensor> constants;
  std::string node_name() const override { return name; }
  int64_t integer(const char* n) const override { return ints.at(n).at(0); }
  float real(const char* n) const override { return floats.at(n).at(0); }
  std::string text(const char* n) const override { return texts.at(n); }
  std::vector<int64_t> integers(const char* n) const override { return ints.at(n); }
  std::vector<float> reals(const char* n) const override { return floats.at(n); }
  Dense constant(size_t i) const override { return constants.at(i).dense(); }
};

class Run final : public Context {
 public:
  Run(std::vector<const Tensor*> in, Crew* crew) : in_(std::move(in)), crew_(crew) {}
  size_t inputs() const override { return in_.size(); }
  Dense input(size_t i) override { return in_[i]->dense(); }
  float* output_f32(std::span<const int64_t> shape) override {
    size(shape, Dtype::kFloat);
    out.f.resize(static_cast<size_t>(out.dense().count()));
    return out.f.data();
  }
  int64_t* output_i64(std::span<const int64_t> shape) override {
    size(shape, Dtype::kInt64);
    out.i.resize(static_cast<size_t>(out.dense().count()));
    return out.i.data();
  }
  int32_t hands(double) override { return crew_ == nullptr ? 1 : crew_->hands(); }
  void parallel(int32_t tasks, void (*body)(void*, int32_t), void* arg) override {
    if (crew_ != nullptr) return crew_->run(tasks, body, arg);
    std::vector<std::thread> threads;
    for (int32_t t = 1; t < tasks; ++t) threads.emplace_back(body, arg, t);
    body(arg, 0);
    for (std::thread& t : threads) t.join();
  }
  Tensor out;

 private:
  void size(std::span<const int64_t> shape, Dtype dtype) {
    out.dtype = dtype;
    out.shape.assign(shape.begin(), shape.end());
  }
  std::vector<const Tensor*> in_;
  Crew* const crew_;
};

Tensor random_weights(std::vector<int64_t> shape, uint32_t seed) {
  Tensor t;
  t.shape = std::move(shape);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.3f);
  t.f.resize(static_cast<size_t>(t.dense().count()));
  for (float& v : t.f) v = normal(random);
  return t;
}

Given attributes(const std::string& name, int64_t kernel, int64_t stride, int64_t pad, int64_t group, float threshold) {
  Given a;
  a.name = name;
  a.ints = {{"kernel_shape", {kernel, kernel}},
            {"strides", {stride, stride}},
            {"dilations", {1, 1}},
            {"pads", {pad, pad, pad, pad}},
            {"group", {group}},
            {"ceil_mode", {0}},
            {"channels_last", {0}},
            {"start", {0}},
            {"end", {0}},
            {"period", {3}}};
  a.floats = {{"threshold", {threshold}}, {"scale", {0.0f}}, {"drift", {0.5f}}, {"activation_params", {}}};
  a.texts = {{"auto_pad", "NOTSET"}, {"activation", "Relu"}, {"op", "Mul"}};
  return a;
}

// The best level that can add to sums.
const Kernels& with_residual() {
  int32_t i = 0;
  while (available_kernels(i)->gemm_add == nullptr) ++i;
  return *available_kernels(i);
}

class Network {
 public:
  explicit Network(float threshold) : kernels_(with_residual()) {
    const auto conv = [&](const std::string& name, int64_t in, int64_t out, int64_t kernel, int64_t group) {
      Given a = attributes(name, kernel, 1, kernel / 2, group, threshold);
      a.constants[1] = random_weights({out, in / group, kernel, kernel}, static_cast<uint32_t>(out + kernel));
      a.constants[2] = random_weights({out}, 7);
      return make_conv(a, kernels_);
    };
    enter_ = make_enter_stream(attributes("enter", 1, 1, 0, 1, threshold), kernels_);
    conv1_ = conv("conv1", kC, 40, 3, 1);
    pool_ = make_max_pool(attributes("pool", 3, 1, 1, 1, 0), kernels_);
    depthwise_ = conv("depthwise", 40, 40, 5, 40);
    deep_ = conv("deep", 40, 24, 3, 1);  // under a tolerance, changes are added to its sums
    concat_ = make_concat(attributes("concat", 1, 1, 0, 1, 0), kernels_);
    global_ = make_global_average_pool(attributes("global", 1, 1, 0, 1, 0), kernels_);
    product_ = make_binary(attributes("product", 1, 1, 0, 1, 0), kernels_);
    conv2_ = conv("conv2", 104, 5, 1, 1);
    exit_ = make_exit(attributes("exit", 1, 1, 0, 1, 0), kernels_);
  }

  // With a crew of three threads, two of which may come late, or sleep meanwhile.
  std::vector<float> run_with_crew(const Tensor& picture, int64_t stream, bool reset, std::mt19937& random) {
    Crew crew(std::chrono::microseconds(random() % 3 == 0 ? random() % 20 : 1000), 3);
    std::vector<float> got;
    std::exception_ptr error;
    const auto hand = [&] {
      try {
        crew.join([&] { got = run(picture, stream, reset, &crew); });
      } catch (...) {
        error = std::current_exception();
      }
    };
    std::thread one(hand), two(hand);
    hand();
    one.join();
    two.join();
    if (error != nullptr) std::rethrow_exception(error);
    return got;
  }

  std::vector<float> run(const Tensor& picture, int64_t stream, bool reset, Crew* crew = nullptr) {
    const auto step = [&](Node& node, std::vector<const Tensor*> in) {
      Run run(std::move(in), crew);
      node.run(run);
      return std::move(run.out);
    };
    const Tensor id{Dtype::kInt64, {1}, {}, {stream}, {}}, flag{Dtype::kBool, {}, {}, {}, {reset}},
        factor{Dtype::kFloat, {}, {1.0f}, {}, {}};
    const Tensor x = step(*enter_, {&picture, &id, &flag, &factor}), a = step(*conv1_, {&x}), p = step(*pool_, {&a}),
                 d = step(*depthwise_, {&p}), e = step(*deep_, {&p}), c = step(*concat_, {&a, &d, &e}),
                 g = step(*global_, {&c}), m = step(*product_, {&c, &g}), y = step(*conv2_, {&m});
    return step(*exit_, {&y}).f;
  }
  int64_t macs_added() const { return deep_->stats().macs_added; }

 private:
  const Kernels& kernels_;
  std::unique_ptr<Node> enter_, conv1_, pool_, depthwise_, deep_, concat_, global_, product_, conv2_, exit_;
};

Tensor picture(std::mt19937& random, const Tensor* before) {
  Tensor t =
      before != nullptr ? *before : Tensor{Dtype::kFloat, {1, kC, kH, kW}, std::vector<float>(kC * kH * kW), {}, {}};
  // every other change is one pixel of a few
  const bool pixel = before != nullptr && random() % 2 == 0;
  const int64_t y = pixel ? 7 + 9 * (random() % 3) : random() % kH, x = pixel ? 63 + random() % 2 : random() % kW;
  const int64_t n = pixel ? 1 : 1 + random() % (before != nullptr ? 9 : kW);
  for (int64_t c = 0; c < kC; ++c) {
    for (int64_t i = y; i < std::min(kH, y + n); ++i) {
      for (int64_t j = x; j < std::min(kW, x + n); ++j)
        t.f[(c * kH + i) * kW + j] = static_cast<float>(random() % 100) * 0.02f;
    }
  }
  return t;
}

bool close(const std::vector<float>& got, const std::vector<float>& want) {
  if (got.size() != want.size()) return false;
  float most = 1.0f;
  for (const float x : want) most = std::max(most, std::fabs(x));
  for (size_t i = 0; i < want.size(); ++i) {
    if (!(std::fabs(got[i] - want[i]) <= 1e-4f * most)) return false;  // NaN is not close
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const int frames = argc > 1 ? std::atoi(argv[1]) : 40;
  Network exact(0.0f), tolerant(1e-7f);
  std::atomic<int> wrong{0}, refused{0};
  const auto own_stream = [&](int k) {
    std::mt19937 random(k);
    Tensor now = picture(random, nullptr);
    for (int t = 0; t < frames; ++t) {
      now = picture(random, &now);
      const std::vector<float> got = exact.run_with_crew(now, 100 + k, false, random),
                               fresh = exact.run(now, 200 + k, true);
      if (got.size() != fresh.size() || std::memcmp(got.data(), fresh.data(), got.size() * sizeof(float)) != 0) ++wrong;
      if (!close(tolerant.run_with_crew(now, 100 + k, false, random), fresh)) ++wrong;
    }
  };
  const auto shared_stream = [&](int k) {
    std::mt19937 random(1000 + k);
    for (int t = 0; t < frames; ++t) {
      try {
        Network& either = t % 2 == 0 ? exact : tolerant;
        either.run_with_crew(picture(random, nullptr), 1, random() % 8 == 0, random);
      } catch (const Error&) {
        ++refused;
      }
    }
  };
  std::vector<std::thread> threads;
  for (int k = 0; k < 3; ++k) threads.emplace_back(own_stream, k);
  for (int k = 0; k < 3; ++k) threads.emplace_back(shared_stream, k);
  for (std::thread& t : threads) t.join();
  std::mt19937 random(5);
  const Tensor last = picture(random, nullptr);
  const std::vector<float> got = exact.run(last, 1, false), fresh = exact.run(last, 999, true);
  if (std::memcmp(got.data(), fresh.data(), got.size() * sizeof(float)) != 0) ++wrong;
  if (!close(tolerant.run(last, 1, false), fresh)) ++wrong;
  const auto added = static_cast<long long>(tolerant.macs_added());
  std::printf("%d frames a thread, %d runs refused, %lld multiply-accumulates added, %d wrong\n", frames,
              refused.load(), added, wrong.load());
  return wrong.load() == 0 && added > 0 ? 0 : 1;
}
