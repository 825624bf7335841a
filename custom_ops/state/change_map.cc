#include "state/change_map.h"

#include <algorithm>
#include <atomic>
#include <bit>

namespace rrm {
namespace {

constexpr int kWord = 64;

int32_t words_for(int32_t width) { return (width + kWord - 1) / kWord; }

uint64_t low_bits(int32_t n) { return n >= kWord ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

// dst |= src moved by `shift` columns (positive: to higher columns). Bits that leave dst's words are dropped.
void or_shifted(const uint64_t* src, int32_t src_words, int32_t shift, uint64_t* dst, int32_t dst_words) {
  const int32_t words = shift >= 0 ? shift / kWord : -((-shift + kWord - 1) / kWord);
  const int32_t bits = shift - words * kWord;  // 0..63
  const int32_t first = std::max(0, words);
  const int32_t last = std::min(dst_words, src_words + words + (bits != 0 ? 1 : 0));
  for (int32_t d = first; d < last; ++d) {
    const int32_t s = d - words;
    uint64_t v = s < src_words ? src[s] << bits : 0;
    if (bits != 0 && s > 0) v |= src[s - 1] >> (kWord - bits);
    dst[d] |= v;
  }
}

// Even bits of v, packed into the low half.
uint64_t even_bits(uint64_t v) {
  v &= 0x5555555555555555u;
  v = (v | v >> 1) & 0x3333333333333333u;
  v = (v | v >> 2) & 0x0f0f0f0f0f0f0f0fu;
  v = (v | v >> 4) & 0x00ff00ff00ff00ffu;
  v = (v | v >> 8) & 0x0000ffff0000ffffu;
  return (v | v >> 16) & 0xffffffffu;
}

// The low half of v, each bit moved to twice its place.
uint64_t spread_bits(uint64_t v) {
  v &= 0xffffffffu;
  v = (v | v << 16) & 0x0000ffff0000ffffu;
  v = (v | v << 8) & 0x00ff00ff00ff00ffu;
  v = (v | v << 4) & 0x0f0f0f0f0f0f0f0fu;
  v = (v | v << 2) & 0x3333333333333333u;
  return (v | v << 1) & 0x5555555555555555u;
}

template <typename Visit>
void each_bit(const uint64_t* row, int32_t words, Visit visit) {
  for (int32_t i = 0; i < words; ++i) {
    for (uint64_t v = row[i]; v != 0; v &= v - 1) visit(i * kWord + std::countr_zero(v));
  }
}

// dst bit x = src bit x * stride.
void sample_columns(const uint64_t* src, int32_t src_words, int32_t stride, uint64_t* dst, int32_t dst_words) {
  if (stride == 2) {
    for (int32_t i = 0; i < src_words && i / 2 < dst_words; ++i) dst[i / 2] |= even_bits(src[i]) << (i % 2 * 32);
    return;
  }
  each_bit(src, src_words, [&](int32_t x) {
    const int32_t o = x / stride;
    if (x % stride == 0 && o < dst_words * kWord) dst[o >> 6] |= uint64_t{1} << (o & 63);
  });
}

// dst bit x * stride = src bit x.
void expand_columns(const uint64_t* src, int32_t src_words, int32_t stride, uint64_t* dst, int32_t dst_words) {
  if (stride == 2) {
    for (int32_t i = 0; i < dst_words && i / 2 < src_words; ++i) dst[i] |= spread_bits(src[i / 2] >> (i % 2 * 32));
    return;
  }
  each_bit(src, src_words, [&](int32_t x) {
    const int32_t o = x * stride;
    if (o < dst_words * kWord) dst[o >> 6] |= uint64_t{1} << (o & 63);
  });
}

void or_row(const std::vector<uint64_t>& src, uint64_t* dst, int32_t words, int32_t width) {
  for (int32_t i = 0; i < words; ++i) dst[i] |= src[i];
  if (words > 0 && width % kWord != 0) dst[words - 1] &= low_bits(width % kWord);
}

}  // namespace

void ChangeMap::resize(int32_t height, int32_t width) {
  height_ = height;
  width_ = width;
  words_ = words_for(width);
  bits_.assign(static_cast<size_t>(height) * words_, 0);
}

void ChangeMap::clear() { std::fill(bits_.begin(), bits_.end(), 0); }

void ChangeMap::fill() {
  std::fill(bits_.begin(), bits_.end(), ~uint64_t{0});
  if (width_ % kWord == 0) return;
  for (int32_t y = 0; y < height_; ++y) row(y)[words_ - 1] = low_bits(width_ % kWord);
}

bool ChangeMap::row_any(int32_t y) const {
  const uint64_t* r = row(y);
  return std::any_of(r, r + words_, [](uint64_t v) { return v != 0; });
}

int64_t ChangeMap::count() const {
  int64_t n = 0;
  for (uint64_t v : bits_) n += std::popcount(v);
  return n;
}

void ChangeMap::merge(int32_t y, int32_t x, int32_t n, const uint64_t* bits) {
  uint64_t* r = row(y);
  const auto add = [&](int32_t word, uint64_t v) {
    if (v != 0) std::atomic_ref<uint64_t>(r[word]).fetch_or(v, std::memory_order_relaxed);
  };
  const int32_t shift = x & 63;
  for (int32_t i = 0, left = n; left > 0; ++i, left -= kWord) {
    const uint64_t v = bits[i] & low_bits(left);
    const int32_t word = (x >> 6) + i;
    add(word, v << shift);
    if (shift != 0 && shift + std::min(left, kWord) > kWord) add(word + 1, v >> (kWord - shift));
  }
}

void ChangeMap::runs(std::vector<Run>& out) const {
  for (int32_t y = 0; y < height_; ++y) append_runs({y, 0, width_}, row(y), out);
}

void ChangeMap::runs_within(const Run& within, bool clear, std::vector<Run>& out) const {
  const uint64_t* r = row(within.y);
  const int32_t shift = within.x & 63;
  for (int32_t i = 0; i < within.n; i += kWord) {
    const int32_t word = (within.x + i) >> 6;
    uint64_t v = r[word] >> shift;
    if (shift != 0 && word + 1 < words_) v |= r[word + 1] << (kWord - shift);
    if (clear) v = ~v;
    const size_t before = out.size();
    append_runs({within.y, within.x + i, std::min(within.n - i, kWord)}, &v, out);
    const bool joins = i > 0 && before > 0 && out.size() > before && out[before - 1].y == within.y &&
                       out[before - 1].x + out[before - 1].n == out[before].x && out[before].x == within.x + i;
    if (!joins) continue;
    out[before - 1].n += out[before].n;
    out.erase(out.begin() + static_cast<std::ptrdiff_t>(before));
  }
}

int64_t ChangeMap::count_without(const ChangeMap& other) const {
  int64_t n = 0;
  for (size_t i = 0; i < bits_.size(); ++i) n += std::popcount(bits_[i] & ~other.bits_[i]);
  return n;
}

void ChangeMap::remove(const ChangeMap& other) {
  for (size_t i = 0; i < bits_.size(); ++i) bits_[i] &= ~other.bits_[i];
}

void ChangeMap::clear_row(int32_t y) { std::fill_n(row(y), words_, 0); }

void append_runs(const Run& within, const uint64_t* bits, std::vector<Run>& out) {
  int32_t start = -1;  // where the open run began
  for (int32_t i = 0; i * kWord < within.n; ++i) {
    const uint64_t v = bits[i] & low_bits(within.n - i * kWord);
    if (start < 0 && v == 0) continue;
    if (start >= 0 && v == ~uint64_t{0}) continue;
    int32_t bit = 0;
    while (bit < kWord) {
      const uint64_t rest = (start < 0 ? v : ~v) >> bit;
      if (rest == 0) break;
      bit += std::countr_zero(rest);
      const int32_t at = i * kWord + bit;
      if (start < 0) {
        start = at;
      } else {
        out.push_back({within.y, within.x + start, std::min(at, within.n) - start});
        start = -1;
      }
    }
  }
  if (start >= 0) out.push_back({within.y, within.x + start, within.n - start});
}

void copy_bits(const uint64_t* from, int64_t first, int32_t n, uint64_t* to) {
  from += first / kWord;
  const auto shift = static_cast<int32_t>(first % kWord);
  for (int32_t left = n; left > 0; left -= kWord, ++from) {
    uint64_t v = from[0] >> shift;
    if (shift != 0 && left > kWord - shift) v |= from[1] << (kWord - shift);
    *to++ = v & low_bits(left);
  }
}

void reach_window(const ChangeMap& in, const Window& w, ChangeMap& out) {
  const int32_t sw = w.stride[1];
  const int32_t wide = words_for(out.width() * sw);
  std::vector<uint64_t> dilated(wide), columns(out.words_per_row());
  for (int32_t y = 0; y < in.height(); ++y) {
    if (!in.row_any(y)) continue;
    std::fill(dilated.begin(), dilated.end(), 0);
    for (int32_t k = 0; k < w.kernel[1]; ++k) {
      or_shifted(in.row(y), in.words_per_row(), w.pad[1] - k * w.dilation[1], dilated.data(), wide);
    }
    const std::vector<uint64_t>* hit = &dilated;
    if (sw != 1) {
      std::fill(columns.begin(), columns.end(), 0);
      sample_columns(dilated.data(), wide, sw, columns.data(), out.words_per_row());
      hit = &columns;
    }
    for (int32_t k = 0; k < w.kernel[0]; ++k) {
      const int32_t at = y + w.pad[0] - k * w.dilation[0];
      if (at < 0 || at % w.stride[0] != 0 || at / w.stride[0] >= out.height()) continue;
      or_row(*hit, out.row(at / w.stride[0]), out.words_per_row(), out.width());
    }
  }
}

void reach_transposed(const ChangeMap& in, const Window& w, ChangeMap& out) {
  const int32_t wide = words_for(in.width() * w.stride[1]);
  std::vector<uint64_t> spread(wide), columns(out.words_per_row());
  for (int32_t y = 0; y < in.height(); ++y) {
    if (!in.row_any(y)) continue;
    std::fill(spread.begin(), spread.end(), 0);
    std::fill(columns.begin(), columns.end(), 0);
    if (w.stride[1] == 1) {
      std::copy(in.row(y), in.row(y) + in.words_per_row(), spread.begin());
    } else {
      expand_columns(in.row(y), in.words_per_row(), w.stride[1], spread.data(), wide);
    }
    for (int32_t k = 0; k < w.kernel[1]; ++k) {
      or_shifted(spread.data(), wide, k * w.dilation[1] - w.pad[1], columns.data(), out.words_per_row());
    }
    for (int32_t k = 0; k < w.kernel[0]; ++k) {
      const int32_t at = y * w.stride[0] + k * w.dilation[0] - w.pad[0];
      if (at >= 0 && at < out.height()) or_row(columns, out.row(at), out.words_per_row(), out.width());
    }
  }
}

void reach_same(const ChangeMap& in, ChangeMap& out) {
  const int64_t n = static_cast<int64_t>(in.height()) * in.words_per_row();
  if (n == 0) return;
  const uint64_t* src = in.row(0);
  uint64_t* dst = out.row(0);
  for (int64_t i = 0; i < n; ++i) dst[i] |= src[i];
}

void reach_axes(const ChangeMap& in, const AxisSource& rows, const AxisSource& columns, ChangeMap& out) {
  std::vector<uint64_t> source(in.words_per_row()), hit(out.words_per_row());
  int32_t lo = -1, hi = -2;  // input rows that `hit` was made of
  bool any = false;
  for (int32_t y = 0; y < out.height(); ++y) {
    if (rows.lo[y] > rows.hi[y]) continue;
    if (rows.lo[y] != lo || rows.hi[y] != hi) {
      lo = rows.lo[y];
      hi = rows.hi[y];
      std::fill(source.begin(), source.end(), 0);
      std::fill(hit.begin(), hit.end(), 0);
      for (int32_t s = lo; s <= hi; ++s) {
        for (int32_t i = 0; i < in.words_per_row(); ++i) source[i] |= in.row(s)[i];
      }
      any = std::any_of(source.begin(), source.end(), [](uint64_t v) { return v != 0; });
      for (int32_t x = 0; any && x < out.width(); ++x) {
        for (int32_t s = columns.lo[x]; s <= columns.hi[x]; ++s) {
          hit[x >> 6] |= ((source[s >> 6] >> (s & 63)) & 1) << (x & 63);
        }
      }
    }
    if (any) or_row(hit, out.row(y), out.words_per_row(), out.width());
  }
}

}  // namespace rrm
