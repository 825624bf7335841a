// Concat, Slice and ChannelRanges: only the ticket is rewritten, no row is touched.
#include <algorithm>
#include <vector>

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

// Channels [first, end) of `in` behind those that `out` names already; neighbours become one segment.
void append(const Ticket& in, int32_t first, int32_t end, Ticket& out) {
  int32_t at = 0;
  for (const Segment& s : in.segments) {
    const int32_t n = s.end - s.first;
    const int32_t lo = std::max(first, at), hi = std::min(end, at + n);
    if (lo < hi) {
      const Segment part{s.id, s.base, s.version, s.first + lo - at, s.first + hi - at};
      Segment* last = out.segments.empty() ? nullptr : &out.segments.back();
      if (last != nullptr && last->id == part.id && last->end == part.first) {
        last->end = part.end;
      } else {
        out.segments.push_back(part);
      }
    }
    at += n;
  }
}

// A view of several inputs.
class Joint : public View {
 public:
  using View::View;

 protected:
  // A ticket of their size and stream, without segments.
  Ticket head(std::span<const Ticket> in) const {
    Ticket out = in[0];
    out.segments.clear();
    for (const Ticket& t : in) {
      if (t.stream != out.stream) fail("its inputs belong to different streams");
      out.turn = std::min(out.turn, t.turn);
      if (t.height != out.height || t.width != out.width) fail("its inputs have different sizes");
    }
    return out;
  }
};

class Concat final : public Joint {
 public:
  using Joint::Joint;

 protected:
  Ticket view(std::span<const Ticket> in) const override {
    Ticket out = head(in);
    for (const Ticket& t : in) out.segments.insert(out.segments.end(), t.segments.begin(), t.segments.end());
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
    append(in[0], start_, end_, out);
    return out;
  }

 private:
  const int32_t start_, end_;
};

// Ranges of channels of its inputs, one behind the other.
class ChannelRanges final : public Joint {
 public:
  ChannelRanges(const Attributes& attributes, const Kernels& kernels) : Joint(attributes, kernels) {
    const auto sources = attributes.integers("sources"), starts = attributes.integers("starts"),
               ends = attributes.integers("ends");
    if (sources.size() != starts.size() || sources.size() != ends.size() || sources.empty()) {
      fail("sources, starts and ends do not fit together");
    }
    for (size_t i = 0; i < sources.size(); ++i) {
      if (sources[i] < 0 || starts[i] < 0 || ends[i] <= starts[i]) fail("a channel range is empty or negative");
      ranges_.push_back(
          {static_cast<size_t>(sources[i]), static_cast<int32_t>(starts[i]), static_cast<int32_t>(ends[i])});
    }
  }

 protected:
  Ticket view(std::span<const Ticket> in) const override {
    Ticket out = head(in);
    for (const Range& r : ranges_) {
      if (r.source >= in.size() || r.end > in[r.source].channels()) fail("a channel range lies outside its input");
      append(in[r.source], r.first, r.end, out);
    }
    return out;
  }

 private:
  struct Range {
    size_t source;
    int32_t first, end;
  };
  std::vector<Range> ranges_;
};

}  // namespace

std::unique_ptr<Node> make_concat(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Concat>(attributes, kernels);
}

std::unique_ptr<Node> make_slice(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<Slice>(attributes, kernels);
}

std::unique_ptr<Node> make_channel_ranges(const Attributes& attributes, const Kernels& kernels) {
  return std::make_unique<ChannelRanges>(attributes, kernels);
}

}  // namespace rrm
