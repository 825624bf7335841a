// One bit a site, rows padded to 64-bit words. Bits past the width are always zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rrm {

// Sites [x, x + n) of row y.
struct Run {
  int32_t y;
  int32_t x;
  int32_t n;
};

class ChangeMap {
 public:
  ChangeMap() = default;
  ChangeMap(int32_t height, int32_t width) { resize(height, width); }

  // All bits zero afterwards; keeps its memory where it can.
  void resize(int32_t height, int32_t width);
  void clear();
  void fill();

  int32_t height() const { return height_; }
  int32_t width() const { return width_; }
  int32_t words_per_row() const { return words_; }
  uint64_t* row(int32_t y) { return bits_.data() + static_cast<size_t>(y) * words_; }
  const uint64_t* row(int32_t y) const { return bits_.data() + static_cast<size_t>(y) * words_; }
  bool get(int32_t y, int32_t x) const { return (row(y)[x >> 6] >> (x & 63)) & 1; }

  bool row_any(int32_t y) const;
  int64_t count() const;

  // ORs bits [0, n) of `bits` into row y from column x on. Safe against other threads doing the same.
  void merge(int32_t y, int32_t x, int32_t n, const uint64_t* bits);

  // Appends the maximal runs of set bits in row-major order; of those within a stretch of a row: set bits or, with
  // `clear`, the others.
  void runs(std::vector<Run>& out) const;
  void runs_within(const Run& within, bool clear, std::vector<Run>& out) const;
  // Set bits here that are not set in `other`, a map of the same size.
  int64_t count_without(const ChangeMap& other) const;
  void remove(const ChangeMap& other);
  void clear_row(int32_t y);

  int64_t bytes() const { return static_cast<int64_t>(bits_.capacity() * sizeof(uint64_t)); }

 private:
  int32_t height_ = 0;
  int32_t width_ = 0;
  int32_t words_ = 0;
  std::vector<uint64_t> bits_;
};

// Appends the maximal runs of set bits among the first `within.n`; bit 0 is the site (within.y, within.x).
void append_runs(const Run& within, const uint64_t* bits, std::vector<Run>& out);

// Bits [first, first + n) of `from` as bits [0, n) of `to`, with zeros up to the end of its last word.
void copy_bits(const uint64_t* from, int64_t first, int32_t n, uint64_t* to);

// A sliding window as convolution and pooling have it: output (oy, ox) sees input rows oy * stride - pad + k *
// dilation.
struct Window {
  int32_t kernel[2] = {1, 1};
  int32_t stride[2] = {1, 1};
  int32_t dilation[2] = {1, 1};
  int32_t pad[2] = {0, 0};  // top, left
};

// Adds to `out` every output site whose window holds a set site of `in`.
void reach_window(const ChangeMap& in, const Window& window, ChangeMap& out);
// Adds to `out` every site that a set site of `in` contributes to in a transposed convolution.
void reach_transposed(const ChangeMap& in, const Window& window, ChangeMap& out);
// Adds the set sites of `in` (same size) to `out`.
void reach_same(const ChangeMap& in, ChangeMap& out);

// Per output coordinate the inclusive range of input coordinates that it reads; lo > hi: none.
struct AxisSource {
  std::vector<int32_t> lo;
  std::vector<int32_t> hi;
};
// Adds to `out` every site that reads a set site of `in` through the two axes.
void reach_axes(const ChangeMap& in, const AxisSource& rows, const AxisSource& columns, ChangeMap& out);

}  // namespace rrm
