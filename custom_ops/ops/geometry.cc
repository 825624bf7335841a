#include "ops/geometry.h"

#include <algorithm>
#include <deque>
#include <mutex>

namespace rrm {
namespace {

void read_pair(const Attributes& attributes, const char* name, int32_t (&out)[2]) {
  const std::vector<int64_t> v = attributes.integers(name);
  if (v.size() != 2) throw Error("rrm node '" + attributes.node_name() + "': " + name + " needs two numbers");
  for (int i = 0; i < 2; ++i) {
    if (v[i] < 1 || v[i] > 1 << 20) throw Error("rrm node '" + attributes.node_name() + "': " + name + " out of range");
    out[i] = static_cast<int32_t>(v[i]);
  }
}

}  // namespace

Geometry::Geometry(const Attributes& attributes) {
  read_pair(attributes, "kernel_shape", kernel_);
  read_pair(attributes, "strides", stride_);
  read_pair(attributes, "dilations", dilation_);
  const std::vector<int64_t> pads = attributes.integers("pads");
  if (pads.size() != 4) throw Error("rrm node '" + attributes.node_name() + "': pads needs four numbers");
  for (int i = 0; i < 4; ++i) {
    if (pads[i] < 0 || pads[i] > 1 << 20) throw Error("rrm node '" + attributes.node_name() + "': pads out of range");
    pads_[i] = static_cast<int32_t>(pads[i]);
  }
  const std::string mode = attributes.text("auto_pad");
  auto_ = mode == "SAME_UPPER"   ? Auto::kSameUpper
          : mode == "SAME_LOWER" ? Auto::kSameLower
          : mode == "VALID"      ? Auto::kValid
                                 : Auto::kNotSet;
}

int32_t Geometry::out_size(int axis, int32_t size, bool ceil_mode) const {
  const int32_t extent = (kernel_[axis] - 1) * dilation_[axis] + 1;
  if (auto_ == Auto::kSameUpper || auto_ == Auto::kSameLower) return (size + stride_[axis] - 1) / stride_[axis];
  const int32_t before = auto_ == Auto::kValid ? 0 : pads_[axis];
  const int32_t after = auto_ == Auto::kValid ? 0 : pads_[2 + axis];
  const int32_t room = size + before + after - extent;
  if (room < 0) throw Error("a window of " + std::to_string(extent) + " does not fit a map of " + std::to_string(size));
  int32_t n = room / stride_[axis] + 1;
  if (ceil_mode && room % stride_[axis] != 0 && n * stride_[axis] < size + before) ++n;
  return n;
}

Window Geometry::window(int32_t height, int32_t width) const {
  Window w;
  const int32_t size[2] = {height, width};
  for (int a = 0; a < 2; ++a) {
    w.kernel[a] = kernel_[a];
    w.stride[a] = stride_[a];
    w.dilation[a] = dilation_[a];
    if (auto_ == Auto::kNotSet) w.pad[a] = pads_[a];
    if (auto_ != Auto::kSameUpper && auto_ != Auto::kSameLower) continue;
    const int32_t extent = (kernel_[a] - 1) * dilation_[a] + 1;
    const int32_t total = std::max(0, (out_size(a, size[a], false) - 1) * stride_[a] + extent - size[a]);
    w.pad[a] = auto_ == Auto::kSameUpper ? total / 2 : total - total / 2;
  }
  return w;
}

MapShape Geometry::conv_size(int32_t height, int32_t width, int32_t channels, bool ceil_mode) const {
  return {out_size(0, height, ceil_mode), out_size(1, width, ceil_mode), channels};
}

void point_taps(const MapInput& in, const Channels& channels, const Window& w, const Block& block, const float* outside,
                const float** pointers, int64_t stride) {
  const int64_t pitch = channels.pitch;
  const int64_t step = pitch * w.stride[1];
  int32_t at = 0;
  for (const Run& r : block.runs) {
    for (int32_t ky = 0; ky < w.kernel[0]; ++ky) {
      const int32_t iy = r.y * w.stride[0] - w.pad[0] + ky * w.dilation[0];
      const bool row_inside = iy >= 0 && iy < in.height;
      for (int32_t kx = 0; kx < w.kernel[1]; ++kx) {
        const float** p = pointers + (ky * w.kernel[1] + kx) * stride + at;
        const int32_t ix = r.x * w.stride[1] - w.pad[1] + kx * w.dilation[1];
        if (!row_inside) {
          std::fill(p, p + r.n, outside);
          continue;
        }
        // Sites m with 0 <= ix + m * stride < width are inside.
        const int32_t s = w.stride[1];
        const int32_t first = std::clamp(ix < 0 ? (-ix + s - 1) / s : 0, 0, r.n);
        const int32_t end = std::clamp(in.width > ix ? (in.width - ix + s - 1) / s : 0, first, r.n);
        std::fill(p, p + first, outside);
        const float* row =
            channels.first + (static_cast<int64_t>(iy) * in.width + ix + static_cast<int64_t>(first) * s) * pitch;
        for (int32_t m = first; m < end; ++m, row += step) p[m] = row;
        std::fill(p + end, p + r.n, outside);
      }
    }
    at += r.n;
  }
}

std::vector<Channels> channels_of(const MapInput& in, int32_t first, int32_t count) {
  std::vector<Channels> parts;
  int32_t at = 0;
  for (const Piece& p : in.pieces) {
    const int32_t lo = std::max(first, at), hi = std::min(first + count, at + p.count);
    if (lo < hi) parts.emplace_back(in, p, lo - at, hi - lo);
    at += p.count;
  }
  return parts;
}

void point_channels(const MapInput& in, int32_t first, int32_t count, const Window& w, const Block& block,
                    Scratch& scratch) {
  const std::vector<Channels> parts = channels_of(in, first, count);
  const size_t taps = static_cast<size_t>(w.kernel[0]) * w.kernel[1];
  const int64_t stride = static_cast<int64_t>(parts.size()) * block.sites;
  scratch.pointers.resize(taps * parts.size() * block.sites);
  scratch.lens.clear();
  const float* const outside = zeros(count);
  for (size_t i = 0; i < parts.size() && taps > 0; ++i) {
    point_taps(in, parts[i], w, block, outside, scratch.pointers.data() + i * block.sites, stride);
  }
  for (size_t t = 0; t < taps; ++t) {
    for (const Channels& part : parts) scratch.lens.push_back(part.count);
  }
}

RunArgs run_args(const MapInput& in, const Piece& piece, const Window& w, const Run& r,
                 std::array<const float*, kMostBands>& bands) {
  for (int32_t ky = 0; ky < w.kernel[0]; ++ky) {
    const int32_t iy = r.y * w.stride[0] - w.pad[0] + ky * w.dilation[0];
    bands[ky] = iy < 0 || iy >= in.height ? nullptr : in.row(piece, static_cast<int64_t>(iy) * in.width);
  }
  RunArgs args{};
  args.bands = bands.data();
  args.kernel_h = w.kernel[0];
  args.kernel_w = w.kernel[1];
  args.column = r.x * w.stride[1] - w.pad[1];
  args.width = in.width;
  args.stride = w.stride[1];
  args.dilation = w.dilation[1];
  args.pitch = piece.resident->channels;
  args.sites = r.n;
  args.c = piece.count;
  args.out_stride = in.channels;
  return args;
}

const float* zeros(int32_t n) {
  static std::mutex mutex;
  static auto* rows = new std::deque<std::vector<float>>;  // grows only: rows handed out stay valid
  const std::lock_guard lock(mutex);
  if (rows->empty() || rows->back().size() < static_cast<size_t>(n)) {
    rows->emplace_back(std::max<size_t>(4096, static_cast<size_t>(n)), 0.0f);
  }
  return rows->back().data();
}

}  // namespace rrm
