// The kernel tables for ctypes: everything else is called through their pointers.
#include <string.h>

#include "levels.h"

extern "C" {

const rrm::Kernels* kernels_named(const char* name) {
  return strcmp(name, "reference") == 0 ? &rrm::kReference : rrm::find_kernels(name);
}

const rrm::Kernels* kernels_available(int32_t index) { return rrm::available_kernels(index); }

const char* feature_names() { return rrm::cpu_feature_names(); }

#if defined(__x86_64__)
// Features of a machine with these words, and with or without the permission to use tiles; asked: how often it was
// asked for.
uint32_t features_of(const rrm::CpuWords* cpu, bool allowed, int* asked) {
  static bool answer;
  static int count;
  answer = allowed;
  count = 0;
  const uint32_t found = rrm::features_of(*cpu, [] { return ++count, answer; });
  *asked = count;
  return found;
}
#endif

// x * y computed while denormals are flushed, between two computations that must not be.
void multiply_flushed(float x, float y, volatile float* results) {
  volatile float a = x, b = y;
  results[0] = a * b;
  {
    rrm::FlushDenormals flush;
    results[1] = a * b;
  }
  results[2] = a * b;
}
}
