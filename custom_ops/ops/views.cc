// Concat and Slice over channels: only the ticket is rewritten, no row is touched.
#include <array>

#include "ops/factories.h"

namespace rrm {
namespace {

class View : public Node {
 public:
  using Node::Node;
  void run(Context& context) override {
    const RunClock clock(stats_);
    std::vector<std::vector<Ticket>> in;
    for (size_t i = 0; i < context.inputs(); ++i) in.push_back(tickets_of(context, i, name_));
    const size_t batch = in[0].size();
    std::vector<Ticket> out;
    for (size_t n = 0; n < batch; ++n) {
      std::vector<const Ticket*> row;
      for (const auto& tickets : in) {
        if (tickets.size() != batch) fail("its inputs have different batch sizes");
        row.push_back(&tickets[n]);
      }
      out.push_back(view(row));
    }
    const size_t segments = out.empty() ? 0 : out[0].segments.size();
    const std::array<int64_t, 2> shape = {static_cast<int64_t>(batch), ticket_words(segments)};
    int64_t* words = context.output_i64(shape);
    for (const Ticket& t : out) {
      if (t.segments.size() != segments) fail("its batch rows are made of different pieces");
      write_ticket(t, words);
      words += shape[1];
    }
    if (fails_now()) fail("stopped by the test hook");
  }

 protected:
  virtual Ticket view(const std::vector<const Ticket*>& in) const = 0;
};

class Concat final : public View {
 public:
  using View::View;

 protected:
  Ticket view(const std::vector<const Ticket*>& in) const override {
    Ticket out = *in[0];
    for (size_t i = 1; i < in.size(); ++i) {
      const Ticket& t = *in[i];
      if (t.stream != out.stream) fail("its inputs belong to different streams");
      if (t.height != out.height || t.width != out.width) fail("its inputs have different sizes");
      out.segments.insert(out.segments.end(), t.segments.begin(), t.segments.end());
    }
    return out;
  }
};

class Slice final : public View {
 public:
  Slice(const Attributes& attributes, const Kernels& kernels)
      : View(attributes, kernels),
        start_(static_cast<int32_t>(attributes.integer("start"))),
        end_(static_cast<int32_t>(attributes.integer("end"))) {}

 protected:
  Ticket view(const std::vector<const Ticket*>& in) const override {
    Ticket out = *in[0];
    if (start_ < 0 || end_ <= start_ || end_ > out.channels()) fail("its channel range lies outside its input");
    out.segments.clear();
    int32_t at = 0;
    for (const Segment& s : in[0]->segments) {
      const int32_t n = s.end - s.first;
      const int32_t lo = std::max(start_, at), hi = std::min(end_, at + n);
      if (lo < hi) out.segments.push_back({s.id, s.base, s.version, s.first + lo - at, s.first + hi - at});
      at += n;
    }
    return out;
  }

 private:
  const int32_t start_, end_;
};

}  // namespace

std::unique_ptr<Node> make_concat(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Concat>(attributes, kernels);
}

std::unique_ptr<Node> make_slice(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Slice>(attributes, kernels);
}

}  // namespace rrm
