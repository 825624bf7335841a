#include "ops/node.h"

#include <algorithm>
#include <cstring>

namespace rrm {

const char kTwoRuns[] = "two runs use one stream at once";
const char kTwoRunsHint[] = "give each concurrent run its own session, or its own rrm_stream (convert --streams)";

void Stats::clear() {
  for (auto* v :
       {&runs, &keyframes, &sites, &active, &changed, &macs_dense, &macs_done, &macs_added, &swept_bytes, &nanoseconds})
    v->store(0);
  for (auto& v : phases.nanoseconds) v = 0;
}

void Node::fail(const std::string& what, const std::string& hint) const {
  throw Error("rrm node '" + name_ + "': " + what, hint);
}

void MapInput::copy_rows(int64_t site, int64_t n, float* out) const {
  if (whole()) {
    std::memcpy(out, row(pieces[0], site), static_cast<size_t>(n) * channels * sizeof(float));
    return;
  }
  int32_t at = 0;
  for (const Piece& p : pieces) {
    for (int64_t i = 0; i < n; ++i) {
      std::memcpy(out + i * channels + at, row(p, site + i), static_cast<size_t>(p.count) * sizeof(float));
    }
    at += p.count;
  }
}

void InputMemory::resolve(const Ticket& ticket, MapInput& out) {
  links_.resize(ticket.segments.size());
  out.height = ticket.height;
  out.width = ticket.width;
  out.channels = ticket.channels();
  out.pieces.clear();
  for (size_t i = 0; i < ticket.segments.size(); ++i) {
    const Segment& s = ticket.segments[i];
    if (links_[i] == nullptr || links_[i]->id != s.id) links_[i] = Registry::instance().find(s.id);
    if (links_[i] == nullptr) throw Error("the state behind a ticket is gone: reset during a run?");
    out.pieces.push_back({links_[i], s.first, s.end - s.first, true});
  }
}

void InputMemory::compare(const Ticket& ticket, MapInput& out) const {
  out.everything = seen_.size() != ticket.segments.size() || height_ != ticket.height || width_ != ticket.width;
  out.one = nullptr;
  bool many = false;
  for (size_t i = 0; i < ticket.segments.size(); ++i) {
    const Segment& s = ticket.segments[i];
    const Resident& r = *out.pieces[i].resident;
    const bool fits = r.height == ticket.height && r.width == ticket.width && s.end <= r.channels;
    if (!r.usable || r.version != s.version || !fits) throw Error(kTwoRuns, kTwoRunsHint);
    out.pieces[i].changed = out.everything || seen_[i].id != s.id || seen_[i].version != s.version;
    if (out.everything || !out.pieces[i].changed) continue;
    if (seen_[i].id != s.id || seen_[i].version != r.base) {
      out.everything = true;
    } else if (out.one == nullptr || out.one == &r.map) {
      out.one = &r.map;
    } else {
      if (!many) {
        out.several = *out.one;
        out.one = &out.several;
        many = true;
      }
      reach_same(r.map, out.several);
    }
  }
}

bool InputMemory::replaced(const Ticket& ticket) const {
  if (seen_.empty()) return false;
  return !std::equal(seen_.begin(), seen_.end(), ticket.segments.begin(), ticket.segments.end(),
                     [](const Seen& a, const Segment& b) { return a.id == b.id; });
}

void InputMemory::consumed(const Ticket& ticket) {
  height_ = ticket.height;
  width_ = ticket.width;
  seen_.clear();
  for (const Segment& s : ticket.segments) seen_.push_back({s.id, s.version});
}

ReadLocks::ReadLocks(std::span<const MapInput> inputs) {
  std::vector<Resident*> residents;
  for (const MapInput& in : inputs) {
    for (const Piece& p : in.pieces) residents.push_back(p.resident.get());
  }
  std::sort(residents.begin(), residents.end());
  residents.erase(std::unique(residents.begin(), residents.end()), residents.end());
  // Never waits: a resident that is being written while a reader has its ticket belongs to two runs. So no order of
  // locks can block for ever.
  for (Resident* r : residents) {
    locks_.emplace_back(r->mutex, std::try_to_lock);
    if (!locks_.back().owns_lock()) throw Error(kTwoRuns, kTwoRunsHint);
  }
}

}  // namespace rrm
