// GFLOP/s of gemm over a list of shapes, against the measured peak of fused multiply-adds in registers.
//
//   g++ -std=c++20 -O2 -I custom_ops/kernels tests/kernels/bench_gemm.cc OBJECTS -o bench_gemm && ./bench_gemm [LEVEL]
//
// Sites lie side by side in a map of the given channels, as the taps of a kernel x kernel convolution find them.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <algorithm>
#include <vector>

#include "table.h"

namespace {

double Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

#if defined(__x86_64__)
// Ten independent chains of fused multiply-adds in registers of `lanes` floats.
#define RRM_STEP(a) __asm__ volatile("vfmadd231ps %1, %1, %0" : "+v"(a) : "v"(x));
#define RRM_PEAK(name, isa, lanes)                                                                                  \
  __attribute__((target(isa))) double name() {                                                                      \
    typedef float V __attribute__((vector_size(4 * lanes)));                                                        \
    V a = {}, b = {}, c = {}, d = {}, e = {}, f = {}, g = {}, h = {}, i = {}, j = {}, x = {};                       \
    const int steps = 1000000;                                                                                      \
    double best = 1e9;                                                                                              \
    for (int round = 0; round < 7; ++round) {                                                                       \
      const double start = Now();                                                                                   \
      for (int step = 0; step < steps; ++step) {                                                                    \
        RRM_STEP(a)                                                                                                 \
        RRM_STEP(b) RRM_STEP(c) RRM_STEP(d) RRM_STEP(e) RRM_STEP(f) RRM_STEP(g) RRM_STEP(h) RRM_STEP(i) RRM_STEP(j) \
      }                                                                                                             \
      best = std::min(best, Now() - start);                                                                         \
    }                                                                                                               \
    return static_cast<double>(steps) * 10 * 2 * lanes / best * 1e-9;                                               \
  }
RRM_PEAK(Peak512, "avx512f", 16)
RRM_PEAK(Peak256, "avx2,fma", 8)
double Peak() { return rrm::find_kernels("avx512") ? Peak512() : rrm::find_kernels("avx2") ? Peak256() : 0; }
#else
double Peak() { return 0; }
#endif

struct Shape {
  int kernel, channels, n, sites;
};

constexpr Shape kShapes[] = {
    {1, 16, 16, 96},    {1, 16, 32, 96},   {1, 32, 16, 96},   {1, 32, 32, 96},   {1, 24, 144, 96}, {1, 144, 24, 96},
    {3, 1, 16, 96},     {3, 3, 16, 96},    {3, 3, 32, 96},    {3, 16, 16, 96},   {3, 16, 8, 96},   {3, 24, 24, 96},
    {3, 24, 36, 96},    {3, 36, 54, 96},   {3, 32, 32, 96},   {3, 32, 64, 96},   {1, 58, 58, 96},  {3, 48, 80, 96},
    {3, 64, 64, 96},    {3, 96, 96, 96},   {3, 128, 128, 96}, {3, 256, 256, 96}, {1, 288, 64, 96}, {1, 576, 128, 96},
    {1, 1152, 256, 96}, {1, 2304, 64, 96}, {3, 64, 64, 1},    {3, 64, 64, 2},    {3, 64, 64, 4},   {3, 64, 64, 8},
    {3, 64, 64, 16},    {3, 256, 256, 1},  {3, 256, 256, 4},  {1, 96, 1, 96},    {1, 96, 255, 96},
};

double Measure(const rrm::Kernels& kernels, const Shape& s, int distance) {
  const int k = s.kernel * s.kernel * s.channels;
  const int width = s.sites * distance + s.kernel;
  const auto fill = [](std::vector<float>& v) {
    for (float& x : v) x = static_cast<float>(rand() % 2000 - 1000) * 1e-3f;
  };
  std::vector<float> map(static_cast<size_t>(width) * s.kernel * s.channels), w(static_cast<size_t>(k) * s.n),
      bias(s.n);
  std::vector<float> out(static_cast<size_t>(s.sites) * s.n), packed(kernels.gemm_packed_floats(k, s.n));
  fill(map), fill(w), fill(bias);
  kernels.gemm_pack(w.data(), k, s.n, bias.data(), packed.data());
  std::vector<const float*> rows;
  for (int y = 0; y < s.kernel; ++y) {
    for (int x = 0; x < s.kernel; ++x) {
      for (int m = 0; m < s.sites; ++m)
        rows.push_back(&map[(static_cast<size_t>(y) * width + m * distance + x) * s.channels]);
    }
  }
  const std::vector<int32_t> lens(s.kernel * s.kernel, s.channels);
  const rrm::GemmArgs args{rows.data(),   s.sites, lens.data(), s.kernel * s.kernel, s.sites,
                           packed.data(), k,       s.n,         out.data(),          s.n};
  const double flops = 2.0 * k * s.n * s.sites;
  const int calls = std::max(1, static_cast<int>(2e8 / flops));
  double best = 1e9;
  for (int round = 0; round < 7; ++round) {
    const double start = Now();
    for (int i = 0; i < calls; ++i) kernels.gemm(args);
    best = std::min(best, (Now() - start) / calls);
  }
  return flops / best * 1e-9;
}

}  // namespace

int main(int argc, char** argv) {
  const rrm::Kernels* kernels = argc > 1 ? rrm::find_kernels(argv[1]) : rrm::available_kernels(0);
  if (kernels == nullptr) return fprintf(stderr, "error: no such level on this machine: %s\n", argv[1]), 2;
  const int distance = argc > 2 ? atoi(argv[2]) : 1;
  const double peak = Peak();
  printf("level %s, peak %.1f GFLOP/s\n", kernels->name, peak);
  printf("%6s %8s %6s %6s %6s %10s %6s\n", "kernel", "channels", "k", "n", "sites", "GFLOP/s", "peak");
  for (const Shape& s : kShapes) {
    const double rate = Measure(*kernels, s, distance);
    printf("%6d %8d %6d %6d %6d %10.1f %5.0f%%\n", s.kernel, s.channels, s.kernel * s.kernel * s.channels, s.n, s.sites,
           rate, 100 * rate / peak);
  }
  return 0;
}
