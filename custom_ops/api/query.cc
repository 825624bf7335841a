// RrmQuery: the library's second symbol. A request in words, the answer as JSON (see the requests in
// custom_ops/README.md).
#include <cmath>
#include <cstring>
#include <sstream>

#include "api/adapter.h"

#ifndef RRM_VERSION
#define RRM_VERSION "0"
#endif

namespace rrm {
namespace {

std::string quoted(const std::string& s) {
  std::string out = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", c);
      out += code;
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string isa() {
  std::string levels, features;
  for (int32_t i = 0; const Kernels* k = available_kernels(i); ++i) levels += (i == 0 ? "" : ",") + quoted(k->name);
  std::istringstream names(cpu_feature_names());
  for (std::string name; names >> name;) features += (features.empty() ? "" : ",") + quoted(name);
  const Kernels& chosen = choose_kernels(std::getenv("RRM_ISA"));
  return "{\"chosen\":" + quoted(chosen.name) + ",\"available\":[" + levels + "],\"features\":[" + features + "]}";
}

void describe(Node& node, std::ostringstream& out) {
  Stats& s = node.stats();
  const auto finite = [](float v) { return std::isfinite(v) ? v : 0.0f; };
  out << "{\"name\":" << quoted(node.name()) << ",\"op\":" << quoted(node.op()) << ",\"streams\":" << node.streams()
      << ",\"runs\":" << s.runs << ",\"keyframes\":" << s.keyframes << ",\"sites\":" << s.sites
      << ",\"active\":" << s.active << ",\"changed\":" << s.changed << ",\"macs_dense\":" << s.macs_dense
      << ",\"macs_done\":" << s.macs_done << ",\"macs_added\":" << s.macs_added << ",\"swept_bytes\":" << s.swept_bytes
      << ",\"ns\":" << s.nanoseconds << ",\"state_bytes\":" << node.state_bytes()
      << ",\"output_bytes\":" << node.output_bytes() << ",\"weight_bytes\":" << node.weight_bytes()
      << ",\"threshold\":" << finite(node.threshold()) << ",\"scale\":" << finite(node.scale())
      << ",\"measured_scale\":" << finite(node.measured_scale(false))
      << ",\"inner_measured_scale\":" << finite(node.measured_scale(true)) << ",\"phases\":{";
  for (size_t i = 0; i < kPhaseNames.size(); ++i) {
    out << (i == 0 ? "" : ",") << quoted(kPhaseNames[i]) << ':' << s.phases.nanoseconds[i];
  }
  out << "}}";
}

std::string stats(Group& group) {
  std::ostringstream out;
  out << "{\"nodes\":[";
  bool first = true;
  group.nodes.each([&](Node& node) {
    if (!first) out << ',';
    first = false;
    describe(node, out);
  });
  out << "],\"regions\":[";
  first = true;
  group.regions.each([&](const CrewCounts& c) {
    out << (first ? "" : ",") << "{\"name\":" << quoted(c.region) << ",\"runs\":" << c.runs << ",\"crews\":" << c.crews
        << ",\"vain\":" << c.vain << ",\"stalled\":" << c.stalled << ",\"rested\":" << c.rested << '}';
    first = false;
  });
  out << "]}";
  return out.str();
}

std::string fail(Group& group, std::istringstream& words) {
  std::string name;
  int64_t count = 0;
  words >> name >> count;
  bool found = false;
  group.nodes.each([&](Node& node) {
    if (node.name() != name) return;
    node.fail_after(count);
    found = true;
  });
  if (!found) throw Error("no node '" + name + "' in this group");
  return "{}";
}

// Of an Enter the second pair is drift and period.
std::string gate(Group& group, std::istringstream& words) {
  GateAttributes outer, inner;
  words >> outer.threshold >> outer.scale >> inner.threshold >> inner.scale >> std::ws;
  std::string name;
  std::getline(words, name);
  bool found = false;
  group.nodes.each([&](Node& node) { found = (node.name() == name && node.set_gate(outer, inner)) || found; });
  if (!found) throw Error("no node '" + name + "' with a gate in this group");
  return "{}";
}

std::string answer(const char* request) {
  std::istringstream words(request);
  std::string verb;
  words >> verb;
  if (verb == "version") return "{\"version\":\"" RRM_VERSION "\",\"abi\":1}";
  if (verb == "isa") return isa();
  if (verb == "group") return "{\"group\":" + std::to_string(Groups::newest()) + "}";
  int64_t id = 0;
  words >> id;
  Group* group = Groups::instance().find(id);
  if (group == nullptr) throw Error("no such request or group: '" + std::string(request) + "'");
  if (verb == "stats") return stats(*group);
  if (verb == "fail") return fail(*group, words);
  if (verb == "gate") return gate(*group, words);
  if (verb == "reset_stats") {
    group->nodes.each([](Node& node) { node.stats().clear(); });
  } else if (verb == "phases") {
    bool on = false;
    words >> on;
    group->nodes.each([&](Node& node) { node.stats().phases.on = on; });
  } else if (verb == "reset") {
    group->nodes.each([](Node& node) { node.reset(); });
  } else {
    throw Error("no such request: '" + std::string(request) + "'");
  }
  return "{}";
}

}  // namespace
}  // namespace rrm

extern "C" __attribute__((visibility("default"))) int64_t RrmQuery(const char* request, char* buffer, int64_t size) {
  try {
    const std::string text = rrm::answer(request == nullptr ? "" : request);
    if (buffer != nullptr && size > 0) {
      const size_t n = std::min(text.size(), static_cast<size_t>(size) - 1);
      std::memcpy(buffer, text.data(), n);
      buffer[n] = '\0';
    }
    return static_cast<int64_t>(text.size()) + 1;
  } catch (...) {
    return -1;
  }
}
