// The kernel tables for ctypes: everything else is called through their pointers.
#include <string.h>

#include "table.h"

extern "C" {

const rrm::Kernels* kernels_named(const char* name) {
  return strcmp(name, "reference") == 0 ? &rrm::kReference : rrm::find_kernels(name);
}

const rrm::Kernels* kernels_available(int32_t index) { return rrm::available_kernels(index); }

const char* feature_names() { return rrm::cpu_feature_names(); }

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
