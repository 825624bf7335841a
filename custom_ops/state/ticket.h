// The words of a ticket: an int64 tensor [N, 3 + 4 * segments], one row per batch row:
//   stream, turn << 32 | tolerance factor (float bits both), height << 32 | width, then per segment: id, base, version,
//   first << 32 | end
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "state/error.h"

namespace rrm {

struct Segment {
  int64_t id;
  int64_t base;
  int64_t version;
  int32_t first;  // channels [first, end) of the resident tensor
  int32_t end;
};

struct Ticket {
  int64_t stream = 0;
  float tolerance = 1.0f;
  // A further factor on thresholds, of this frame alone: see Enter's `drift`. Where tickets meet the smallest counts:
  // pictures of which one run saw only some have their turns in different frames, and what changed has to pass in its
  // own.
  float turn = 1.0f;
  int32_t height = 0;
  int32_t width = 0;
  std::vector<Segment> segments;

  int32_t channels() const {
    int32_t n = 0;
    for (const Segment& s : segments) n += s.end - s.first;
    return n;
  }
};

constexpr int64_t kTicketHead = 3;
constexpr int64_t kTicketSegment = 4;

inline int64_t ticket_words(size_t segments) { return kTicketHead + kTicketSegment * static_cast<int64_t>(segments); }

inline int64_t pack_pair(int32_t high, int32_t low) {
  return static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(high)) << 32 | static_cast<uint32_t>(low));
}

inline void write_ticket(const Ticket& t, int64_t* words) {
  *words++ = t.stream;
  *words++ = pack_pair(std::bit_cast<int32_t>(t.turn), std::bit_cast<int32_t>(t.tolerance));
  *words++ = pack_pair(t.height, t.width);
  for (const Segment& s : t.segments) {
    *words++ = s.id;
    *words++ = s.base;
    *words++ = s.version;
    *words++ = pack_pair(s.first, s.end);
  }
}

// Throws Error when the words cannot be a ticket (a dense int64 tensor fed by mistake).
inline void read_ticket(const int64_t* words, int64_t count, Ticket& out) {
  if (count < kTicketHead || (count - kTicketHead) % kTicketSegment != 0) throw Error("an rrm ticket has a wrong size");
  const auto high = [](int64_t v) { return static_cast<int32_t>(v >> 32); };
  const auto low = [](int64_t v) { return static_cast<int32_t>(v); };
  out.stream = words[0];
  out.tolerance = std::bit_cast<float>(low(words[1]));
  out.turn = std::bit_cast<float>(high(words[1]));
  out.height = high(words[2]);
  out.width = low(words[2]);
  out.segments.resize(static_cast<size_t>((count - kTicketHead) / kTicketSegment));
  if (out.height < 0 || out.width < 0) throw Error("an rrm ticket has a negative size");
  for (Segment& s : out.segments) {
    const int64_t* w = words + kTicketHead + kTicketSegment * (&s - out.segments.data());
    s = {w[0], w[1], w[2], high(w[3]), low(w[3])};
    if (s.first < 0 || s.end < s.first) throw Error("an rrm ticket has a wrong channel range");
  }
}

}  // namespace rrm
