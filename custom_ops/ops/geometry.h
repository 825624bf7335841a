// Sliding windows: ONNX's attributes, resolved for a map's size.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "ops/interface.h"
#include "ops/site_node.h"
#include "state/change_map.h"

namespace rrm {

class Geometry {
 public:
  explicit Geometry(const Attributes& attributes);

  // Window with the padding that auto_pad asks for at this input size; throws when the window does not fit.
  Window window(int32_t height, int32_t width) const;
  // Output size of a convolution or a pooling. ceil_mode as in ONNX: a last window may begin inside the input or its
  // left padding, never in the right padding.
  MapShape conv_size(int32_t height, int32_t width, int32_t channels, bool ceil_mode = false) const;
  int32_t taps() const { return kernel_[0] * kernel_[1]; }
  const int32_t* kernel() const { return kernel_; }

  // Padding at the bottom and on the right.
  int32_t pad_end(int axis) const { return pads_[2 + axis]; }
  bool explicit_pads() const { return auto_ == Auto::kNotSet; }
  int32_t out_size(int axis, int32_t size, bool ceil_mode) const;

 private:
  int32_t kernel_[2], stride_[2], dilation_[2], pads_[4];
  enum class Auto { kNotSet, kSameUpper, kSameLower, kValid } auto_;
};

// Some channels of a resident: where they are at the map's first site, and how far the next site's are from there.
struct Channels {
  Channels(const MapInput& in, const Piece& piece, int32_t skip, int32_t count_)
      : first(in.row(piece, 0) + skip), pitch(piece.resident->channels), count(count_) {}
  Channels(const MapInput& in, const Piece& piece) : Channels(in, piece, 0, piece.count) {}
  const float* first;
  int64_t pitch;
  int32_t count;
};

// pointers[tap * stride + m] = row that tap reads for the block's m-th site; `outside` in the padding.
void point_taps(const MapInput& in, const Channels& channels, const Window& window, const Block& block,
                const float* outside, const float** pointers, int64_t stride);

// Channels [first, first + count) of an input, resident by resident.
std::vector<Channels> channels_of(const MapInput& in, int32_t first, int32_t count);

// Rows of a matrix product: those channels as the block's windows see them, in Scratch::pointers and Scratch::lens, one
// piece for each tap and each resident.
void point_channels(const MapInput& in, int32_t first, int32_t count, const Window& window, const Block& block,
                    Scratch& scratch);

// What the kernels for neighbours want to know of a run, for one piece of the input. At most kMostBands kernel rows.
RunArgs run_args(const MapInput& in, const Piece& piece, const Window& window, const Run& run,
                 std::array<const float*, kMostBands>& bands);

// A row of zeros, at least n floats; lives as long as the library.
const float* zeros(int32_t n);

}  // namespace rrm
