#include "ops/ticket_node.h"

#include <algorithm>

namespace rrm {

const Memo::Last* Memo::find(std::span<const TicketWords> inputs, std::unique_lock<std::mutex>& lock) {
  lock = std::unique_lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || last_.in_words == 0) return nullptr;
  const int64_t* at = last_.in.data();
  const int64_t* const end = at + last_.in_words;
  for (const TicketWords& t : inputs) {
    const auto words = t.all();
    if (t.rows != last_.rows || end - at < static_cast<int64_t>(words.size())) return nullptr;
    if (!std::equal(words.begin(), words.end(), at)) return nullptr;
    at += words.size();
  }
  return at == end ? &last_ : nullptr;
}

void Memo::store(std::span<const TicketWords> inputs, std::span<const Answer> answers) {
  if (answers.empty()) return;
  size_t in_words = 0;
  for (const TicketWords& t : inputs) in_words += t.all().size();
  const int64_t width = ticket_words(answers[0].ticket.segments.size());
  const size_t out_words = answers.size() * static_cast<size_t>(width);
  const std::lock_guard lock(mutex_);
  last_.in_words = 0;
  if (in_words > last_.in.size() || out_words > last_.out.size()) return;
  int64_t* in = last_.in.data();
  for (const TicketWords& t : inputs) in = std::copy(t.all().begin(), t.all().end(), in);
  last_.sites = last_.macs = 0;
  int64_t* out = last_.out.data();
  for (const Answer& a : answers) {
    write_ticket(a.ticket, out);
    out += width;
    last_.sites += a.sites;
    last_.macs += a.macs;
  }
  last_.rows = static_cast<int32_t>(answers.size());
  last_.out_width = static_cast<int32_t>(width);
  last_.in_words = static_cast<int32_t>(in_words);
}

void Memo::clear() {
  const std::lock_guard lock(mutex_);
  last_.in_words = 0;
}

void TicketNode::run(Context& context) {
  const RunClock clock(stats_);
  std::array<TicketWords, 8> few;
  std::vector<TicketWords> many;
  const size_t count = ticket_inputs(context);
  if (count > few.size()) many.resize(count);
  const std::span<TicketWords> inputs(count > few.size() ? many.data() : few.data(), count);
  read(context, inputs);
  if (repeat(context, inputs)) return;
  context.foresee();
  memo_.clear();
  const size_t batch = static_cast<size_t>(inputs[0].rows);
  std::vector<Answer> answers(batch);
  std::vector<Ticket> row(inputs.size());
  for (size_t n = 0; n < batch; ++n) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      read_ticket(inputs[i].words + static_cast<int64_t>(n) * inputs[i].width, inputs[i].width, row[i]);
    }
    answers[n] = answer(context, row);
  }
  write(context, answers);
  memo_.store(inputs, answers);
}

void TicketNode::read(Context& context, std::span<TicketWords> inputs) const {
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i] = ticket_words_of(context, i, name_);
  for (const TicketWords& t : inputs) {
    if (t.rows != inputs[0].rows) fail("its inputs have different batch sizes");
  }
}

bool TicketNode::repeat(Context& context, std::span<const TicketWords> inputs) {
  std::unique_lock<std::mutex> lock;
  const Memo::Last* last = memo_.find(inputs, lock);
  if (last == nullptr) return false;
  if (fails_now()) fail("stopped by the test hook");
  const std::array<int64_t, 2> shape = {last->rows, last->out_width};
  std::copy_n(last->out.data(), shape[0] * shape[1], context.output_i64(shape));
  stats_.sites += last->sites;
  stats_.macs_dense += last->macs;
  return true;
}

void TicketNode::write(Context& context, std::span<const Answer> answers) const {
  const size_t segments = answers.empty() ? 0 : answers[0].ticket.segments.size();
  const std::array<int64_t, 2> shape = {static_cast<int64_t>(answers.size()), ticket_words(segments)};
  int64_t* words = context.output_i64(shape);
  for (const Answer& a : answers) {
    if (a.ticket.segments.size() != segments) fail("its batch rows are made of different pieces");
    write_ticket(a.ticket, words);
    words += shape[1];
  }
}

TicketWords ticket_words_of(Context& context, size_t i, const std::string& node) {
  const Dense words = context.input(i);
  if (words.dtype != Dtype::kInt64 || words.shape.size() != 2) {
    throw Error("rrm node '" + node + "': input " + std::to_string(i) + " is not a ticket",
                "feed converted models only through their own inputs");
  }
  return {words.as<int64_t>(), words.shape[0], words.shape[1]};
}

std::vector<Ticket> tickets_of(Context& context, size_t i, const std::string& node) {
  const TicketWords words = ticket_words_of(context, i, node);
  std::vector<Ticket> tickets(static_cast<size_t>(words.rows));
  for (size_t n = 0; n < tickets.size(); ++n) {
    read_ticket(words.words + static_cast<int64_t>(n) * words.width, words.width, tickets[n]);
  }
  return tickets;
}

}  // namespace rrm
