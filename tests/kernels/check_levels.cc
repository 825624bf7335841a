// Every level of the machine it runs on against the reference, over random sizes: what can be run where there is no
// Python, as under an emulator of another architecture. Prints one line for each level; exit status 1 on a difference.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <random>
#include <vector>

#include "table.h"

namespace {

using rrm::Kernels;
using rrm::kReference;
using Floats = std::vector<float>;

std::mt19937 generator(1);
int failures = 0;

int Below(int n) { return static_cast<int>(generator() % static_cast<uint32_t>(n)); }

Floats Random(size_t n) {
  std::normal_distribution<float> normal;
  Floats v(n);
  for (float& x : v) x = normal(generator);
  return v;
}

// Equal to the last bit with tolerance 0; else |a - b| <= tolerance * (1 + |b|).
void Expect(const Kernels& k, const char* what, const Floats& a, const Floats& b, float tolerance) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (memcmp(&a[i], &b[i], sizeof(float)) == 0) continue;
    if (fabsf(a[i] - b[i]) <= tolerance * (1 + fabsf(b[i]))) continue;
    printf("%s %s: element %zu is %g, expected %g\n", k.name, what, i, static_cast<double>(a[i]),
           static_cast<double>(b[i]));
    ++failures;
    return;
  }
}

// Pointers to rows of c floats for each tap and site; null with the given chance in 16.
std::vector<const float*> Rows(const Floats& map, int taps, int sites, int c, int nulls) {
  std::vector<const float*> rows;
  for (int i = 0; i < taps * sites; ++i) {
    const size_t last = map.size() / static_cast<size_t>(c);
    rows.push_back(Below(16) < nulls ? nullptr : &map[static_cast<size_t>(Below(static_cast<int>(last))) * c]);
  }
  return rows;
}

void CheckGemm(const Kernels& k, int sites, int c, int n) {
  const int taps = 1 + Below(5);
  const Floats map = Random(static_cast<size_t>(c) * 50), w = Random(static_cast<size_t>(taps) * c * n),
               bias = Random(n);
  const auto rows = Rows(map, taps, sites, c, 0);
  const std::vector<int32_t> lens(taps, c);
  Floats out[2] = {Floats(static_cast<size_t>(sites) * n), Floats(static_cast<size_t>(sites) * n)};
  const Kernels* tables[2] = {&k, &kReference};
  for (int i = 0; i < 2; ++i) {
    Floats packed(static_cast<size_t>(tables[i]->gemm_packed_floats(taps * c, n)));
    tables[i]->gemm_pack(w.data(), taps * c, n, bias.data(), packed.data());
    tables[i]->gemm(
        {rows.data(), sites, lens.data(), taps, sites, packed.data(), taps * c, n, out[i].data(), n, nullptr, true});
  }
  Expect(k, "gemm", out[0], out[1], 1e-4f);
}

void CheckGemmAdd(const Kernels& k, int sites, int c, int n) {
  const Floats map = Random(static_cast<size_t>(c) * 50), w = Random(static_cast<size_t>(3 * c) * n), bias = Random(n),
               kept = Random(n);
  const auto rows = Rows(map, 1, sites, c, 0);
  const Kernels* tables[2] = {&k, &kReference};
  Floats result[2];
  for (int i = 0; i < 2; ++i) {
    const size_t width = static_cast<size_t>(tables[i]->gemm_packed_floats(0, n));
    Floats packed(static_cast<size_t>(tables[i]->gemm_packed_floats(3 * c, n))), out(width * sites);
    std::vector<float*> outs;
    for (int m = 0; m < sites; ++m) {
      outs.push_back(&out[width * m]);
      memcpy(outs.back(), kept.data(), sizeof(float) * n);
    }
    tables[i]->gemm_pack(w.data(), 3 * c, n, bias.data(), packed.data());
    tables[i]->gemm_add({rows.data(), outs.data(), sites, packed.data(), 3 * c, n, c, c, 0});
    for (const float* row : outs) result[i].insert(result[i].end(), row, row + n);
  }
  Expect(k, "gemm_add", result[0], result[1], 1e-4f);
}

void CheckWindows(const Kernels& k, int sites, int c, int nulls) {
  const int taps = 1 + Below(70);
  const Floats map = Random(static_cast<size_t>(c) * 50), w = Random(static_cast<size_t>(taps) * c), bias = Random(c);
  const Floats weights = Random(static_cast<size_t>(taps) * sites);
  const auto rows = Rows(map, taps, sites, c, nulls);
  const size_t n = static_cast<size_t>(sites) * c;
  Floats deep[2] = {Floats(n), Floats(n)}, max = deep[0], top = deep[0], mean = deep[0], average = deep[0];
  k.depthwise({rows.data(), sites, taps, sites, w.data(), c, bias.data(), c, deep[0].data(), c});
  kReference.depthwise({rows.data(), sites, taps, sites, w.data(), c, bias.data(), c, deep[1].data(), c});
  k.window_max({rows.data(), sites, taps, sites, nullptr, c, max.data(), c});
  kReference.window_max({rows.data(), sites, taps, sites, nullptr, c, top.data(), c});
  k.window_weighted({rows.data(), sites, taps, sites, weights.data(), c, mean.data(), c});
  kReference.window_weighted({rows.data(), sites, taps, sites, weights.data(), c, average.data(), c});
  Expect(k, "depthwise", deep[0], deep[1], 1e-5f);
  Expect(k, "window_max", max, top, 0);
  Expect(k, "window_weighted", mean, average, 1e-5f);
}

void CheckRuns(const Kernels& k, int sites, int c) {
  const int kernel = 1 + Below(5), stride = 1 + Below(2);
  const int column = 1 - Below(4), width = (sites - 1) * stride + kernel + column;
  const int64_t pitch = static_cast<int64_t>(std::max(width, 1)) * c;
  const Floats map = Random(static_cast<size_t>(pitch) * kernel), w = Random(static_cast<size_t>(kernel * kernel) * c),
               bias = Random(c);
  std::vector<const float*> bands;
  for (int ky = 0; ky < kernel; ++ky) bands.push_back(map.data() + ky * pitch);
  if (Below(2)) bands[Below(kernel)] = nullptr;
  const size_t n = static_cast<size_t>(sites) * c;
  Floats out[2] = {Floats(n), Floats(n)};
  const Kernels* tables[2] = {&k, &kReference};
  for (int i = 0; i < 2; ++i) {
    tables[i]->depthwise_run({bands.data(), kernel, kernel, column, width, stride, 1, c, sites, w.data(), c,
                              bias.data(), c, out[i].data(), c, nullptr});
  }
  Expect(k, "depthwise_run", out[0], out[1], 1e-5f);
  for (int i = 0; i < 2; ++i) {
    tables[i]->window_max_run({bands.data(), kernel, kernel, column, width, stride, 1, c, sites, nullptr, 0, nullptr, c,
                               out[i].data(), c, nullptr});
  }
  Expect(k, "window_max_run", out[0], out[1], 0);
}

void CheckElementwise(const Kernels& k, int sites, int c) {
  const size_t n = static_cast<size_t>(sites) * c;
  const Floats a = Random(n), b = Random(n), slopes = Random(c);
  for (int op = 0; op <= static_cast<int>(rrm::BinaryOp::kMin); ++op) {
    for (int kind = 0; kind < 4; ++kind) {
      Floats out[2] = {Floats(n), Floats(n)};
      const Kernels* tables[2] = {&k, &kReference};
      for (int i = 0; i < 2; ++i) {
        tables[i]->binary({static_cast<rrm::BinaryOp>(op), a.data(), c, true, b.data(),
                           kind & 1 ? (kind & 2 ? c : 1) : 0, (kind & 2) != 0, sites, c, out[i].data(), c});
      }
      Expect(k, "binary", out[0], out[1], 0);
    }
  }
  for (const bool log : {false, true}) {
    Floats out[2] = {Floats(n), Floats(n)};
    k.softmax({a.data(), c, sites, c, out[0].data()}, log);
    kReference.softmax({a.data(), c, sites, c, out[1].data()}, log);
    Expect(k, "softmax", out[0], out[1], 2e-6f);
  }
  Floats norm[2] = {Floats(n), Floats(n)};
  k.layer_norm({a.data(), c, sites, c, norm[0].data()}, slopes.data(), b.data(), 0.1f);
  kReference.layer_norm({a.data(), c, sites, c, norm[1].data()}, slopes.data(), b.data(), 0.1f);
  Expect(k, "layer_norm", norm[0], norm[1], 1e-5f);
  for (const float beta : {0.5f, 0.6f, 0.75f}) {
    const rrm::LrnParameters lrn = {1 + Below(9), 0.3f, beta, 1.5f};
    k.lrn({a.data(), c, sites, c, norm[0].data()}, lrn);
    kReference.lrn({a.data(), c, sites, c, norm[1].data()}, lrn);
    Expect(k, "lrn", norm[0], norm[1], 2e-6f);
  }
  for (const bool last : {false, true}) {
    Floats best[2] = {Floats(sites), Floats(sites)};
    k.arg_max({a.data(), c, sites, c, best[0].data()}, last);
    kReference.arg_max({a.data(), c, sites, c, best[1].data()}, last);
    Expect(k, "arg_max", best[0], best[1], 0);
  }
  for (int act = 0; act <= static_cast<int>(rrm::Act::kSquare); ++act) {
    Floats x = a;
    const bool positive = act == static_cast<int>(rrm::Act::kSqrt) || act == static_cast<int>(rrm::Act::kLog);
    for (float& v : x) v = positive ? fabsf(v) : 8 * v;
    Floats y = x;
    k.activate(x.data(), sites, c, {static_cast<rrm::Act>(act), 0.25f, 0.5f, slopes.data()});
    kReference.activate(y.data(), sites, c, {static_cast<rrm::Act>(act), 0.25f, 0.5f, slopes.data()});
    Expect(k, "activate", x, y, 2e-6f);
  }
}

void CheckCommits(const Kernels& k, int sites, int c) {
  const size_t n = static_cast<size_t>(sites) * c;
  const Floats held = Random(n);
  Floats fresh = held;
  for (int m = 0; m < sites; ++m) {
    if (Below(2)) fresh[static_cast<size_t>(m) * c + Below(c)] += static_cast<float>(1 + Below(3));
  }
  const Kernels* tables[2] = {&k, &kReference};
  for (int gate = 0; gate < 3; ++gate) {
    std::vector<uint64_t> bits[6];
    Floats rows[6] = {held, held, held, held, held, held}, room(rrm::kPlanarSites * static_cast<size_t>(c));
    int64_t counts[6];
    for (int i = 0; i < 2; ++i) {
      for (auto& word : bits) word.resize((sites + 63) / 64);
      counts[i] = tables[i]->commit(
          {fresh.data(), rows[i].data(), sites, c, static_cast<rrm::Gate>(gate), 2.5f, bits[i].data()});
      Floats x(n);
      tables[i]->to_planar(fresh.data(), c, sites, c, x.data(), sites);
      counts[2 + i] = tables[i]->commit_planar({x.data(), sites, room.data(), rows[2 + i].data(), sites, c,
                                                static_cast<rrm::Gate>(gate), 2.5f, bits[2 + i].data()});
      counts[4 + i] = counts[i];  // that of kAll
      bits[4 + i] = bits[i];
      if (gate == 0) continue;
      std::vector<float*> places;
      for (int m = 0; m < sites; ++m) places.push_back(rows[4 + i].data() + static_cast<size_t>(m) * c);
      counts[4 + i] = tables[i]->commit_rows(
          {fresh.data(), places.data(), sites, c, static_cast<rrm::Gate>(gate), 2.5f, bits[4 + i].data()});
    }
    Expect(k, "commit_rows", rows[4], rows[5], 0);
    Expect(k, "commit", rows[0], rows[1], 0);
    Expect(k, "commit_planar rows", rows[2], rows[1], 0);
    for (int i = 0; i < 6; ++i) {
      if (counts[i] == counts[1] && bits[i] == bits[1]) continue;
      printf("%s commit: flags of way %d, gate %d, %d sites, %d channels differ\n", k.name, i, gate, sites, c);
      ++failures;
    }
  }
}

void CheckFolds(const Kernels& k, int sites, int c) {
  const Floats rows = Random(static_cast<size_t>(sites) * c);
  Floats sum[2] = {Floats(c), Floats(c)}, max[2] = {Floats(c), Floats(c)};
  std::vector<uint8_t> bytes(static_cast<size_t>(sites));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(generator());
  Floats converted[2] = {Floats(bytes.size()), Floats(bytes.size())};
  const Kernels* tables[2] = {&k, &kReference};
  for (int i = 0; i < 2; ++i) {
    tables[i]->row_sum(rows.data(), c, sites, c, sum[i].data());
    tables[i]->row_max(rows.data(), c, sites, c, max[i].data());
    tables[i]->u8_to_f32(bytes.data(), sites, converted[i].data());
  }
  Expect(k, "row_sum", sum[0], sum[1], 0);
  Expect(k, "row_max", max[0], max[1], 0);
  Expect(k, "u8_to_f32", converted[0], converted[1], 0);
}

}  // namespace

int main() {
  for (int level = 0; rrm::available_kernels(level) != nullptr; ++level) {
    const Kernels& k = *rrm::available_kernels(level);
    for (int round = 0; round < 60; ++round) {
      const int sites = 1 + Below(70);
      const int c = 1 + Below(round % 2 ? 70 : 9);
      CheckGemm(k, sites, c, 1 + Below(90));
      if (k.gemm_add != nullptr) CheckGemmAdd(k, sites, c, 1 + Below(90));
      CheckWindows(k, sites, c, round % 3 * 4);
      CheckRuns(k, sites, c);
      CheckElementwise(k, sites, c);
      CheckCommits(k, sites + 70 * (round % 2), c);
      CheckFolds(k, sites, c);
    }
    printf("%s: %s\n", k.name, failures == 0 ? "ok" : "differs");
  }
  return failures == 0 ? 0 : 1;
}
