// The library's entry point for onnxruntime: makes a group, describes every operator of ops.inc to the session options.
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <deque>

#include "api/adapter.h"

namespace rrm {
namespace {

constexpr char kDomain[] = "rrm";

std::string level_names() {
  std::string names;
  for (int32_t i = 0; const Kernels* k = available_kernels(i); ++i)
    names += (i == 0 ? "" : ", ") + std::string(k->name);
  return names;
}

// A config entry of the session options, or nothing.
std::string config_entry(const ort::OrtApi& api, const ort::OrtSessionOptions* options, const char* key) {
  int found = 0;
  check(api, api.HasSessionConfigEntry(options, key, &found));
  if (found == 0) return {};
  size_t size = 0;
  check(api, api.GetSessionConfigEntry(options, key, nullptr, &size));
  std::string value(size, '\0');
  check(api, api.GetSessionConfigEntry(options, key, value.data(), &size));
  value.resize(size == 0 ? 0 : size - 1);
  return value;
}

std::atomic<bool> config_entries{false};  // one runtime a process

constexpr OperatorRow kOperators[] = {
#define RRM_OP(name, make, inputs, output) {#name, make, inputs, output},
#include "api/ops.inc"
#undef RRM_OP
};

constexpr OperatorRow kRegion = {"Region", nullptr, "r", 'r'};

// Microseconds, from the session options or the environment.
std::chrono::nanoseconds linger_of(const std::string& entry) {
  constexpr int64_t kDefault = 100, kMost = 1'000'000;
  const char* environment = std::getenv("RRM_LINGER_US");
  const std::string text = !entry.empty() ? entry : environment != nullptr ? environment : "";
  if (text.empty()) return std::chrono::microseconds(kDefault);
  int64_t us = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), us);
  if (error != std::errc() || end != text.data() + text.size() || us < 0 || us > kMost) {
    throw Error("rrm: rrm.linger_us (or RRM_LINGER_US) is '" + text + "'",
                "give whole microseconds from 0 (threads do not wait) to 1000000");
  }
  return std::chrono::microseconds(us);
}

void add_operators(const ort::OrtApi& api, ort::OrtSessionOptions* options, Group& group) {
  // Never freed: onnxruntime keeps pointers to domain and operators beyond the session options.
  auto* operators = new std::deque<Operator>;
  for (const OperatorRow& row : kOperators) operators->emplace_back(row, group);
  operators->emplace_back(kRegion, group);
  ort::OrtCustomOpDomain* domain = nullptr;
  check(api, api.CreateCustomOpDomain(kDomain, &domain));
  for (const Operator& op : *operators) check(api, api.CustomOpDomain_Add(domain, &op));
  check(api, api.AddCustomOpDomain(options, domain));
}

}  // namespace

const Kernels& choose_kernels(const char* asked) {
  if (asked == nullptr || *asked == '\0') return *available_kernels(0);
  if (const Kernels* k = find_kernels(asked)) return *k;
  throw Error("rrm: this machine cannot run the ISA level '" + std::string(asked) + "'",
              "choose one of: " + level_names());
}

const OperatorRow& operator_row(const std::string& name) {
  for (const OperatorRow& row : kOperators) {
    if (name == row.name) return row;
  }
  throw Error("rrm: a region has a step '" + name + "', which this library does not know",
              "update rrm_onnx, or convert the model again");
}

bool has_config_entries() { return config_entries; }

}  // namespace rrm

extern "C" __attribute__((visibility("default"))) rrm::ort::OrtStatus* RegisterCustomOps(
    rrm::ort::OrtSessionOptions* options, const rrm::ort::OrtApiBase* base) {
  using namespace rrm;
  const ort::OrtApi* api = base->GetApi(ort::kApiVersion);
  if (api == nullptr) return nullptr;  // too old to be told; the session fails on the unknown domain, Python says why
  return guarded(*api, [&] {
    config_entries = ort::runtime_minor(base) >= ort::kConfigEntriesMinor;
    const std::string asked = config_entry(*api, options, "rrm.isa");
    Group& group = Groups::instance().create(choose_kernels(asked.empty() ? std::getenv("RRM_ISA") : asked.c_str()),
                                             linger_of(config_entry(*api, options, "rrm.linger_us")));
    add_operators(*api, options, group);
    Groups::newest() = group.id();
  });
}
