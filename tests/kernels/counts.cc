// Instruction counts of the kernels: one function for each case, called once, to be found by name in what
// `valgrind --tool=callgrind` writes (counts.py runs it). Everything is prepared before, so that a function holds the
// call of its kernel and little else.
//
//   counts LEVEL
#include <stdint.h>
#include <stdio.h>

#include <vector>

#include "table.h"

namespace {

using Floats = std::vector<float>;

// Sites of a call: two blocks of the library's driver for middling channels, and not a multiple of a register tile.
constexpr int kSites = 101;
constexpr int kMost = 256;  // channels
constexpr int kTaps = 25;

// The same numbers on every machine.
Floats Numbers(size_t n) {
  static uint32_t state = 1;
  Floats v(n);
  for (float& x : v) {
    state = state * 1664525u + 1013904223u;
    x = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
  }
  return v;
}

struct Data {
  explicit Data(const rrm::Kernels& k)
      : map(Numbers((kSites + kTaps) * kMost)),
        fresh(Numbers(kSites * kMost)),
        w(Numbers(576 * kMost)),
        bias(Numbers(kMost)),
        held(fresh),
        planar(kSites * kMost),
        out(kSites * kMost),
        sums(kSites),
        bytes(kSites * kMost, 7),
        bits(kSites / 64 + 1),
        lens(9) {
    for (int t = 0; t < kTaps; ++t) {
      for (int m = 0; m < kSites; ++m) rows.push_back(&map[static_cast<size_t>(m + t) * kMost]);
    }
    for (int m = 0; m < kSites; m += 2) held[static_cast<size_t>(m) * 64] += 1;  // every other row of 64 channels
    for (int c = 0; c < kMost; ++c) order.push_back((c * 7) % kMost);
    packed.resize(static_cast<size_t>(k.gemm_packed_floats(576, kMost)));
    Pack(k, 576, 64);
    wide.swap(packed);
    packed.resize(wide.size());
    Pack(k, 64, 256);
  }
  void Pack(const rrm::Kernels& k, int depth, int n) { k.gemm_pack(w.data(), depth, n, bias.data(), packed.data()); }

  Floats map, fresh, w, bias, held, planar, out, packed, wide;
  std::vector<const float*> rows;
  std::vector<float*> sums;
  std::vector<uint8_t> bytes;
  std::vector<uint64_t> bits;
  std::vector<int32_t> lens, order;
};

void Gemm(const rrm::Kernels& k, Data& d, int taps, const Floats& packed, int n, int sites) {
  for (int32_t& length : d.lens) length = 64;
  k.gemm(
      {d.rows.data(), kSites, d.lens.data(), taps, sites, packed.data(), taps * 64, n, d.out.data(), n, nullptr, true});
}

void GemmAdd(const rrm::Kernels& k, Data& d, int taps, int sites) {
  if (k.gemm_add == nullptr) return;
  for (int m = 0; m < sites; ++m) d.sums[m] = &d.out[static_cast<size_t>(m) * 64];
  k.gemm_add({d.rows.data(), d.sums.data(), sites, d.wide.data(), 576, 64, 64, taps * 64, 0});
}

void Depthwise(const rrm::Kernels& k, Data& d, int taps, int c) {
  k.depthwise({d.rows.data(), kSites, taps, kSites, d.w.data(), c, d.bias.data(), c, d.out.data(), c});
}

void DepthwiseRun(const rrm::Kernels& k, Data& d, int kernel, int c) {
  k.depthwise_run({d.rows.data(), kernel, kernel, 0, kSites + kernel - 1, 1, 1, c, kSites, d.w.data(), c, d.bias.data(),
                   c, d.out.data(), c, nullptr});
}

void Activate(const rrm::Kernels& k, Data& d, rrm::Act kind) {
  k.activate(d.out.data(), kSites, 64, {kind, 0.1f, 0.5f, d.bias.data()});
}

void Commit(const rrm::Kernels& k, Data& d, rrm::Gate gate) {
  k.commit({d.fresh.data(), d.held.data(), kSites, 64, gate, 0.25f, d.bits.data(), nullptr});
}

void CommitRows(const rrm::Kernels& k, Data& d, rrm::Gate gate) {
  std::vector<float*> held(kSites);
  for (int m = 0; m < kSites; ++m) held[m] = d.held.data() + 64 * m;
  k.commit_rows({d.fresh.data(), held.data(), kSites, 64, gate, 0.25f, d.bits.data()});
}

void Planar(const rrm::Kernels& k, Data& d, rrm::Gate gate) {
  k.commit_planar({d.fresh.data(), kSites, d.planar.data(), d.out.data(), kSites, 3, gate, 0.25f, d.bits.data()});
}

}  // namespace

// The order matters: a commit leaves its rows held, so the second one finds nothing changed.
#define RRM_COUNTS(COUNT)                                                                                              \
  COUNT(gemm_pack_576x64, d.Pack(k, 576, 64))                                                                          \
  COUNT(gemm_3x3_64_to_64, Gemm(k, d, 9, d.wide, 64, kSites))                                                          \
  COUNT(gemm_3x3_64_to_64_one_site, Gemm(k, d, 9, d.wide, 64, 1))                                                      \
  COUNT(gemm_add_one_tap_64_to_64, GemmAdd(k, d, 1, kSites))                                                           \
  COUNT(gemm_add_three_taps_64_to_64, GemmAdd(k, d, 3, kSites))                                                        \
  COUNT(gemm_pack_64x256, d.Pack(k, 64, 256))                                                                          \
  COUNT(gemm_1x1_64_to_256, Gemm(k, d, 1, d.packed, 256, kSites))                                                      \
  COUNT(gemm_pack_64x1, d.Pack(k, 64, 1))                                                                              \
  COUNT(gemm_1x1_64_to_1, Gemm(k, d, 1, d.packed, 1, kSites))                                                          \
  COUNT(depthwise_3x3_96, Depthwise(k, d, 9, 96))                                                                      \
  COUNT(depthwise_5x5_240, Depthwise(k, d, 25, 240))                                                                   \
  COUNT(depthwise_run_3x3_96, DepthwiseRun(k, d, 3, 96))                                                               \
  COUNT(depthwise_run_5x5_240, DepthwiseRun(k, d, 5, 240))                                                             \
  COUNT(window_max_3x3_64, k.window_max({d.rows.data(), kSites, 9, kSites, nullptr, 64, d.out.data(), 64}))            \
  COUNT(window_max_run_3x3_64, k.window_max_run({d.rows.data(), 3, 3, 0, kSites + 2, 1, 1, 64, kSites, nullptr, 0,     \
                                                 nullptr, 64, d.out.data(), 64, nullptr}))                             \
  COUNT(window_weighted_4_64, k.window_weighted({d.rows.data(), kSites, 4, kSites, d.w.data(), 64, d.out.data(), 64})) \
  COUNT(binary_add_64, k.binary({rrm::BinaryOp::kAdd, d.map.data(), 64, true, d.fresh.data(), 64, true, kSites, 64,    \
                                 d.out.data(), 64}))                                                                   \
  COUNT(activate_relu_64, Activate(k, d, rrm::Act::kRelu))                                                             \
  COUNT(activate_silu_64, Activate(k, d, rrm::Act::kSilu))                                                             \
  COUNT(activate_hard_swish_64, Activate(k, d, rrm::Act::kHardSwish))                                                  \
  COUNT(softmax_4, k.softmax({d.map.data(), 4, kSites, 4, d.out.data()}, false))                                       \
  COUNT(softmax_80, k.softmax({d.map.data(), 80, kSites, 80, d.out.data()}, false))                                    \
  COUNT(layer_norm_96, k.layer_norm({d.map.data(), 96, kSites, 96, d.out.data()}, d.w.data(), d.bias.data(), 1e-5f))   \
  COUNT(lrn_5_64, k.lrn({d.map.data(), 64, kSites, 64, d.out.data()}, {5, 1e-4f, 0.75f, 1.0f}))                        \
  COUNT(arg_max_19, k.arg_max({d.map.data(), 19, kSites, 19, d.out.data()}, false))                                    \
  COUNT(commit_rms_64_half_changed, Commit(k, d, rrm::Gate::kRms))                                                     \
  COUNT(commit_rms_64_unchanged, Commit(k, d, rrm::Gate::kRms))                                                        \
  COUNT(commit_exact_64_unchanged, Commit(k, d, rrm::Gate::kExact))                                                    \
  COUNT(commit_rows_rms_64_unchanged, CommitRows(k, d, rrm::Gate::kRms))                                               \
  COUNT(commit_planar_3_all_changed, Planar(k, d, rrm::Gate::kExact))                                                  \
  COUNT(commit_planar_3_unchanged, Planar(k, d, rrm::Gate::kExact))                                                    \
  COUNT(commit_planar_3_rms_unchanged, Planar(k, d, rrm::Gate::kRms))                                                  \
  COUNT(to_planar_64, k.to_planar(d.map.data(), 64, kSites, 64, d.planar.data(), kSites))                              \
  COUNT(gather_channels_64, k.gather_channels(d.map.data(), kMost, kSites, d.order.data(), 64, d.out.data(), 64))      \
  COUNT(row_sum_64, k.row_sum(d.map.data(), 64, kSites, 64, d.out.data()))                                             \
  COUNT(row_max_64, k.row_max(d.map.data(), 64, kSites, 64, d.out.data()))                                             \
  COUNT(sum_squares_6464, sink = k.sum_squares(d.map.data(), kSites * 64))                                             \
  COUNT(u8_to_f32_6464, k.u8_to_f32(d.bytes.data(), kSites * 64, d.out.data()))

volatile double sink;

#define RRM_DEFINE(name, call) \
  extern "C" __attribute__((noinline)) void count_##name(const rrm::Kernels& k, Data& d) { call; }
#define RRM_CALL(name, call) count_##name(*k, d);
RRM_COUNTS(RRM_DEFINE)

int main(int argc, char** argv) {
  const rrm::Kernels* k = argc > 1 ? rrm::find_kernels(argv[1]) : nullptr;
  if (k == nullptr) return fprintf(stderr, "error: no such level on this machine\n\nhint: counts avx2\n"), 2;
  Data d(*k);
  RRM_COUNTS(RRM_CALL)
  return 0;
}
