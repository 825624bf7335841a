// Concat and Slice over channels: only the ticket is rewritten, no row is touched.
#include <algorithm>

#include "ops/factories.h"
#include "ops/ticket_node.h"

namespace rrm {
namespace {

class View : public TicketNode {
 public:
  using TicketNode::TicketNode;

 protected:
  size_t ticket_inputs(const Context& context) const override { return context.inputs(); }
  Answer answer(Context&, std::span<const Ticket> row) override {
    Answer a{view(row)};
    if (fails_now()) fail("stopped by the test hook");
    return a;
  }
  virtual Ticket view(std::span<const Ticket> in) const = 0;
};

class Concat final : public View {
 public:
  using View::View;

 protected:
  Ticket view(std::span<const Ticket> in) const override {
    Ticket out = in[0];
    for (size_t i = 1; i < in.size(); ++i) {
      const Ticket& t = in[i];
      if (t.stream != out.stream) fail("its inputs belong to different streams");
      out.turn = std::min(out.turn, t.turn);
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
  Ticket view(std::span<const Ticket> in) const override {
    Ticket out = in[0];
    if (start_ < 0 || end_ <= start_ || end_ > out.channels()) fail("its channel range lies outside its input");
    out.segments.clear();
    int32_t at = 0;
    for (const Segment& s : in[0].segments) {
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
