// A node that turns tickets into a ticket: what views and site nodes share. Its memory of the last run is what makes a
// frame in which nothing changed cost next to nothing.
#pragma once

#include <array>
#include <mutex>
#include <span>
#include <vector>

#include "ops/node.h"

namespace rrm {

// One input of a run: `rows` tickets of `width` words.
struct TicketWords {
  const int64_t* words;
  int64_t rows;
  int64_t width;
  std::span<const int64_t> all() const { return {words, static_cast<size_t>(rows * width)}; }
};

// What a run answers for one batch row; sites and macs are those of its whole map, for the statistics.
struct Answer {
  Ticket ticket;
  int64_t sites = 0;
  int64_t macs = 0;
};

// The words of the last run, in and out. An answer holds for ever: a ticket names a version, versions never come back,
// and whoever reads a resident checks that it still is at that version. So no state has to be looked at, and a reset
// (which gives residents new ids) needs nothing here.
class Memo {
 public:
  struct Last {
    int32_t in_words = 0;  // 0: nothing is remembered
    int32_t rows = 0;
    int32_t out_width = 0;
    int64_t sites = 0;
    int64_t macs = 0;
    std::array<int64_t, 48> out;
    std::array<int64_t, 96> in;
  };

  // Null when another thread is at it, or when these inputs are not those of the last run. Holds the lock until then.
  const Last* find(std::span<const TicketWords> inputs, std::unique_lock<std::mutex>& lock);
  void store(std::span<const TicketWords> inputs, std::span<const Answer> answers);
  void clear();

 private:
  std::mutex mutex_;
  Last last_;
};

class TicketNode : public Node {
 public:
  using Node::Node;
  void run(Context& context) final;

 protected:
  // The first so many inputs are tickets.
  virtual size_t ticket_inputs(const Context& context) const = 0;
  virtual Answer answer(Context& context, std::span<const Ticket> row) = 0;

 private:
  void read(Context& context, std::span<TicketWords> inputs) const;
  bool repeat(Context& context, std::span<const TicketWords> inputs);
  void write(Context& context, std::span<const Answer> answers) const;

  Memo memo_;
};

// The words of input i.
TicketWords ticket_words_of(Context& context, size_t i, const std::string& node);
// The tickets of input i, one per batch row.
std::vector<Ticket> tickets_of(Context& context, size_t i, const std::string& node);

}  // namespace rrm
