// Time per site of the functions of rows: depthwise, windows, binary, activate, commit, commit_planar, to_planar.
//
//   g++ -std=c++20 -O2 -I custom_ops/kernels tests/kernels/bench_rows.cc OBJECTS -o bench_rows && ./bench_rows [LEVEL]
//
// GB/s counts every float read or written once (depthwise: every input of every tap).
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <algorithm>
#include <vector>

#include "table.h"

namespace {

using rrm::Kernels;

// Rows begin at cache lines where the width allows, as the maps of the library do.
template <class T>
struct LineAllocator {
  using value_type = T;
  T* allocate(size_t n) { return static_cast<T*>(aligned_alloc(64, (n * sizeof(T) + 63) / 64 * 64)); }
  void deallocate(T* p, size_t) { free(p); }
  bool operator==(const LineAllocator&) const { return true; }
};
using Floats = std::vector<float, LineAllocator<float>>;

double Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Best of several rounds, in seconds a call.
template <class F>
double Time(F f) {
  double best = 1e9;
  int calls = 1;
  for (int round = 0; round < 8; ++round) {
    const double start = Now();
    for (int i = 0; i < calls; ++i) f(i);
    const double time = (Now() - start) / calls;
    best = std::min(best, time);
    calls = std::max(1, static_cast<int>(4e-3 / best));
  }
  return best;
}

Floats Random(size_t n) {
  Floats v(n);
  for (float& x : v) x = static_cast<float>(rand() % 2000 - 1000) * 1e-3f;
  return v;
}

void Report(const char* name, int c, int sites, double seconds, double floats) {
  printf("%-28s c %4d  sites %6d  %8.2f ns/site  %6.1f GB/s\n", name, c, sites, seconds / sites * 1e9,
         floats * 4 / seconds * 1e-9);
}

// kernel x kernel taps side by side in a map; optionally the left-most tap is absent everywhere.
void Windows(const Kernels& k, int c, int kernel, bool nulls) {
  const int sites = 96;
  const int taps = kernel * kernel;
  const Floats map = Random(static_cast<size_t>(kernel) * (sites + kernel) * c), w = Random(taps * c), bias = Random(c);
  Floats out(sites * c);
  std::vector<const float*> rows;
  for (int t = 0; t < taps; ++t) {
    for (int m = 0; m < sites; ++m) {
      rows.push_back(&map[(static_cast<size_t>(t / kernel) * (sites + kernel) + m + t % kernel) * c]);
      if (nulls && t == 0) rows.back() = nullptr;
    }
  }
  const Floats weights = Random(taps * sites);
  const rrm::DepthwiseArgs d{rows.data(), sites, taps, sites, w.data(), c, bias.data(), c, out.data(), c};
  const rrm::WindowArgs win{rows.data(), sites, taps, sites, weights.data(), c, out.data(), c};
  const double floats = 1.0 * taps * sites * c;
  char name[64];
  snprintf(name, sizeof(name), "depthwise %dx%d%s", kernel, kernel, nulls ? " nulls" : "");
  Report(name, c, sites, Time([&](int) { k.depthwise(d); }), floats);
  if (kernel > 3) return;
  Report(nulls ? "window_max nulls" : "window_max", c, sites, Time([&](int) { k.window_max(win); }), floats);
  Report(nulls ? "window_weighted nulls" : "window_weighted", c, sites, Time([&](int) { k.window_weighted(win); }),
         floats);
}

// changed: of 16 rows, how many differ from the held ones in every call (at random places).
void Commits(const Kernels& k, int c, int sites, rrm::Gate gate, int changed) {
  const Floats held = Random(static_cast<size_t>(sites) * c);
  Floats fresh[2] = {held, held};
  for (int m = 0; m < sites; ++m) {
    if (rand() % 16 < changed) fresh[1][static_cast<size_t>(m) * c + rand() % c] += 1;
  }
  Floats copy = held;
  std::vector<uint64_t> bits(sites / 64 + 1);
  const auto call = [&](int i) {
    k.commit({fresh[i % 2].data(), copy.data(), sites, c, gate, 0.25f, bits.data(), nullptr});
  };
  char name[64];
  snprintf(name, sizeof(name), "commit %s %d/16", gate == rrm::Gate::kExact ? "exact" : "rms", changed);
  Report(name, c, sites, Time(call), 2.0 * sites * c);
  std::vector<float*> places;
  for (int m = 0; m < sites; ++m) places.push_back(copy.data() + static_cast<size_t>(m) * c);
  const auto apart = [&](int i) {
    k.commit_rows({fresh[i % 2].data(), places.data(), sites, c, gate, 0.25f, bits.data()});
  };
  snprintf(name, sizeof(name), "commit_rows %s %d/16", gate == rrm::Gate::kExact ? "exact" : "rms", changed);
  Report(name, c, sites, Time(apart), 2.0 * sites * c);
}

void Planar(const Kernels& k, int c, int sites, rrm::Gate gate, int changed) {
  const size_t n = static_cast<size_t>(sites) * c;
  Floats x[2] = {Random(n), {}}, rows(n), planar(n), room(rrm::kPlanarSites * c);
  x[1] = x[0];
  for (int m = 0; m < sites; ++m) {
    if (rand() % 16 < changed) x[1][m] += 1;
  }
  std::vector<uint64_t> bits(sites / 64 + 1);
  const auto call = [&](int i) {
    k.commit_planar({x[i % 2].data(), sites, room.data(), rows.data(), sites, c, gate, 0.25f, bits.data()});
  };
  char name[64];
  snprintf(name, sizeof(name), "commit_planar %s %d/16", gate == rrm::Gate::kExact ? "exact" : "rms", changed);
  Report(name, c, sites, Time(call), 2.0 * static_cast<double>(n));
  Report("to_planar", c, sites, Time([&](int) { k.to_planar(rows.data(), c, sites, c, planar.data(), sites); }),
         2.0 * static_cast<double>(n));
}

void Elementwise(const Kernels& k, int c, int sites) {
  const size_t n = static_cast<size_t>(sites) * c;
  Floats a = Random(n), out(n);
  const Floats b = Random(n);
  const double floats = static_cast<double>(n);
  rrm::BinaryArgs add{rrm::BinaryOp::kAdd, a.data(), c, true, b.data(), c, true, sites, c, out.data(), c};
  Report("add", c, sites, Time([&](int) { k.binary(add); }), 3 * floats);
  add.b_stride = 0;
  Report("add channel constants", c, sites, Time([&](int) { k.binary(add); }), 2 * floats);
  add.b_wide = false, add.b_stride = 1;
  Report("add one channel", c, sites, Time([&](int) { k.binary(add); }), 2 * floats);
  const struct {
    const char* name;
    rrm::Act kind;
  } kinds[] = {
      {"relu", rrm::Act::kRelu}, {"silu", rrm::Act::kSilu}, {"gelu", rrm::Act::kGelu}, {"tanh", rrm::Act::kTanh}};
  for (const auto& kind : kinds) {
    Report(kind.name, c, sites, Time([&](int) { k.activate(out.data(), sites, c, {kind.kind, 0, 0, nullptr}); }),
           2 * floats);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Kernels* k = argc > 1 ? rrm::find_kernels(argv[1]) : rrm::available_kernels(0);
  if (k == nullptr) return fprintf(stderr, "error: no such level on this machine: %s\n", argv[1]), 2;
  printf("level %s\n", k->name);
  for (const int c : {8, 16, 24, 96, 256}) Windows(*k, c, 3, false);
  for (const int c : {16, 96}) Windows(*k, c, 3, true);
  for (const int c : {16, 96}) Windows(*k, c, 5, false);
  for (const rrm::Gate gate : {rrm::Gate::kExact, rrm::Gate::kRms}) {
    for (const int changed : {0, 8, 16}) {
      for (const int c : {1, 2, 3, 8, 16, 24, 32, 48, 64, 96, 128, 256}) Commits(*k, c, 96, gate, changed);
    }
  }
  for (const rrm::Gate gate : {rrm::Gate::kExact, rrm::Gate::kRms}) {
    for (const int changed : {0, 4, 16}) {
      for (const int c : {1, 3, 64}) Planar(*k, c, c > 4 ? 80 * 80 : 640 * 480, gate, changed);
    }
  }
  for (const int c : {2, 4, 85}) Planar(*k, c, 80 * 80, rrm::Gate::kExact, 0);
  for (const int c : {3, 16, 96}) Elementwise(*k, c, 96);
  return 0;
}
