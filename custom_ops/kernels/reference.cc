// The naive loops that define each function of table.h. Nothing is shared with the levels' bodies: a mistake there must
// not be made here, too. No fused multiply-add: the portable level agrees with this one bit for bit where both only
// add, multiply and compare.
#include <math.h>
#include <string.h>

#include "table.h"

namespace rrm {
namespace {

int64_t PackedFloats(int32_t k, int32_t n) { return static_cast<int64_t>(k + 1) * n; }

// w as it is, then the bias.
void Pack(const float* w, int32_t k, int32_t n, const float* bias, float* packed) {
  memcpy(packed, w, sizeof(float) * static_cast<size_t>(k) * static_cast<size_t>(n));
  memcpy(packed + static_cast<int64_t>(k) * n, bias, sizeof(float) * static_cast<size_t>(n));
}

void Gemm(const GemmArgs& g) {
  const float* bias = g.packed + static_cast<int64_t>(g.k) * g.n;
  for (int m = 0; m < g.sites; ++m) {
    for (int j = 0; j < g.n; ++j) {
      float sum = bias[j];
      int64_t k = 0;
      for (int p = 0; p < g.pieces; ++p) {
        const float* a = g.rows[p * g.rows_stride + m];
        for (int i = 0; i < g.lens[p]; ++i) sum += a[i] * g.packed[k++ * g.n + j];
      }
      g.out[m * g.out_stride + j] = sum;
    }
  }
}

void GemmAdd(const GemmAddArgs& g) {
  for (int m = 0; m < g.sites; ++m) {
    for (int j = 0; j < g.n; ++j) {
      float sum = 0.0f;
      for (int i = 0; i < g.count; ++i) sum += g.rows[m][i] * g.packed[static_cast<int64_t>(g.first + i) * g.n + j];
      g.outs[m][g.column + j] += sum;
    }
  }
}

void Depthwise(const DepthwiseArgs& g) {
  for (int m = 0; m < g.sites; ++m) {
    for (int j = 0; j < g.c; ++j) {
      float sum = g.bias[j];
      for (int t = 0; t < g.taps; ++t) {
        const float* row = g.rows[t * g.rows_stride + m];
        if (row != nullptr) sum += row[j] * g.w[t * g.w_stride + j];
      }
      g.out[m * g.out_stride + j] = sum;
    }
  }
}

// The row of tap t of site m; null: outside.
const float* RunRow(const RunArgs& g, int m, int t) {
  const float* band = g.bands[t / g.kernel_w];
  const int64_t column = g.column + static_cast<int64_t>(m) * g.stride + t % g.kernel_w * g.dilation;
  return band == nullptr || column < 0 || column >= g.width ? nullptr : band + column * g.pitch;
}

void DepthwiseRun(const RunArgs& g) {
  for (int m = 0; m < g.sites; ++m) {
    for (int j = 0; j < g.c; ++j) {
      float sum = g.bias[j];
      for (int t = 0; t < g.kernel_h * g.kernel_w; ++t) {
        const float* row = RunRow(g, m, t);
        if (row != nullptr) sum += row[j] * g.w[t * g.w_stride + j];
      }
      g.out[m * g.out_stride + j] = sum;
    }
  }
}

float Larger(float a, float b) { return a > b ? a : b; }
float Smaller(float a, float b) { return a < b ? a : b; }

void WindowMax(const WindowArgs& g) {
  for (int m = 0; m < g.sites; ++m) {
    for (int j = 0; j < g.c; ++j) {
      float max = -INFINITY;
      for (int t = 0; t < g.taps; ++t) {
        const float* row = g.rows[t * g.rows_stride + m];
        if (row != nullptr) max = Larger(max, row[j]);
      }
      g.out[m * g.out_stride + j] = max;
    }
  }
}

void WindowMaxRun(const RunArgs& g) {
  for (int m = 0; m < g.sites; ++m) {
    for (int j = 0; j < g.c; ++j) {
      float max = -INFINITY;
      for (int t = 0; t < g.kernel_h * g.kernel_w; ++t) {
        const float* row = RunRow(g, m, t);
        if (row != nullptr) max = Larger(max, row[j]);
      }
      g.out[m * g.out_stride + j] = max;
    }
  }
}

void WindowWeighted(const WindowArgs& g) {
  for (int m = 0; m < g.sites; ++m) {
    for (int j = 0; j < g.c; ++j) {
      float sum = -0.0f;  // an empty window; adds nothing to a first product, not even to the sign of a zero
      bool first = true;
      for (int t = 0; t < g.taps; ++t) {
        const float* row = g.rows[t * g.rows_stride + m];
        if (row == nullptr) continue;
        const float product = g.weights[t * g.rows_stride + m] * row[j];
        sum = first ? product : sum + product;
        first = false;
      }
      g.out[m * g.out_stride + j] = sum;
    }
  }
}

float Combine(BinaryOp op, float a, float b) {
  switch (op) {
    case BinaryOp::kAdd:
      return a + b;
    case BinaryOp::kSub:
      return a - b;
    case BinaryOp::kMul:
      return a * b;
    case BinaryOp::kDiv:
      return a / b;
    case BinaryOp::kMax:
      return Larger(a, b);
    case BinaryOp::kMin:
      return Smaller(a, b);
    case BinaryOp::kPow:
      return powf(a, b);
  }
  return NAN;
}

void Binary(const BinaryArgs& g) {
  for (int m = 0; m < g.sites; ++m) {
    for (int j = 0; j < g.c; ++j) {
      const float a = g.a[m * g.a_stride + (g.a_wide ? j : 0)];
      const float b = g.b[m * g.b_stride + (g.b_wide ? j : 0)];
      g.out[m * g.out_stride + j] = Combine(g.op, a, b);
    }
  }
}

double Sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// In double, rounded once: the levels' single precision is measured against it.
double ActivateOne(double x, const Activation& act, int channel) {
  const double a = static_cast<double>(act.a);
  const double b = static_cast<double>(act.b);
  const double line = fmax(0.0, fmin(1.0, a * x + b));
  switch (act.kind) {
    case Act::kNone:
      return x;
    case Act::kRelu:
      return x < 0.0 ? 0.0 : x;
    case Act::kLeakyRelu:
      return x < 0.0 ? a * x : x;
    case Act::kPRelu:
      return x < 0.0 ? static_cast<double>(act.slopes[channel]) * x : x;
    case Act::kClip:
      return x < a ? a : x > b ? b : x;
    case Act::kSigmoid:
      return Sigmoid(x);
    case Act::kHardSigmoid:
      return line;
    case Act::kHardSwish:
      return x * line;
    case Act::kSilu:
      return x * Sigmoid(x);
    case Act::kTanh:
      return tanh(x);
    case Act::kGelu:
      return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
    case Act::kGeluTanh:
      return 0.5 * x * (1.0 + tanh(sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
    case Act::kElu:
      return x < 0.0 ? a * expm1(x) : x;
    case Act::kAbs:
      return fabs(x);
    case Act::kNeg:
      return -x;
    case Act::kExp:
      return exp(x);
    case Act::kSquare:
      return x * x;
    case Act::kLog:
      return log(x);
    case Act::kSqrt:
      return sqrt(x);
    case Act::kErf:
      return erf(x);
    case Act::kSoftplus:
      return fmax(x, 0.0) + log1p(exp(-fabs(x)));
    case Act::kMish:
      return x * tanh(fmax(x, 0.0) + log1p(exp(-fabs(x))));
    case Act::kSign:
      return x > 0 ? 1 : x < 0 ? -1 : x == 0 ? 0 : x;
  }
  return NAN;
}

void Activate(float* x, int32_t sites, int32_t c, const Activation& act) {
  for (int m = 0; m < sites; ++m) {
    for (int j = 0; j < c; ++j, ++x) *x = static_cast<float>(ActivateOne(static_cast<double>(*x), act, j));
  }
}

void Softmax(const RowArgs& g, bool log_of_it) {
  for (int m = 0; m < g.sites; ++m) {
    const float* x = g.rows + m * g.row_stride;
    float max = -INFINITY;
    for (int j = 0; j < g.c; ++j) max = Larger(max, x[j]);
    double sum = 0.0;
    for (int j = 0; j < g.c; ++j) sum += exp(static_cast<double>(x[j]) - static_cast<double>(max));
    for (int j = 0; j < g.c; ++j) {
      const double d = static_cast<double>(x[j]) - static_cast<double>(max);
      g.out[static_cast<int64_t>(m) * g.c + j] = static_cast<float>(log_of_it ? d - log(sum) : exp(d) / sum);
    }
  }
}

void LayerNorm(const RowArgs& g, const float* scale, const float* bias, float epsilon) {
  for (int m = 0; m < g.sites; ++m) {
    const float* x = g.rows + m * g.row_stride;
    double mean = 0.0, variance = 0.0;
    for (int j = 0; j < g.c; ++j) mean += static_cast<double>(x[j]) / g.c;
    for (int j = 0; j < g.c; ++j) {
      const double d = static_cast<double>(x[j]) - mean;
      variance += d * d / g.c;
    }
    const double factor = 1.0 / sqrt(variance + static_cast<double>(epsilon));
    for (int j = 0; j < g.c; ++j) {
      const double y = (static_cast<double>(x[j]) - mean) * factor;
      g.out[static_cast<int64_t>(m) * g.c + j] =
          static_cast<float>(y * static_cast<double>(scale[j]) + static_cast<double>(bias[j]));
    }
  }
}

void Lrn(const RowArgs& g, const LrnParameters& p) {
  for (int m = 0; m < g.sites; ++m) {
    const float* x = g.rows + m * g.row_stride;
    for (int j = 0; j < g.c; ++j) {
      double sum = 0.0;
      for (int i = j - (p.size - 1) / 2; i <= j + p.size / 2; ++i) {
        if (i >= 0 && i < g.c) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      }
      const double s = static_cast<double>(p.bias) + static_cast<double>(p.alpha) / p.size * sum;
      g.out[static_cast<int64_t>(m) * g.c + j] =
          static_cast<float>(static_cast<double>(x[j]) / pow(s, static_cast<double>(p.beta)));
    }
  }
}

void ArgMax(const RowArgs& g, bool last) {
  for (int m = 0; m < g.sites; ++m) {
    const float* x = g.rows + m * g.row_stride;
    int best = 0;
    for (int j = 1; j < g.c; ++j) {
      if (last ? !(x[j] < x[best]) : x[j] > x[best]) best = j;
    }
    g.out[m] = static_cast<float>(best);
  }
}

bool Replaces(Gate gate, float limit, const float* fresh, int64_t fresh_step, const float* held, int c) {
  bool differs = false;
  float sum = 0.0f;
  for (int j = 0; j < c; ++j) {
    const float x = fresh[j * fresh_step];
    const float y = held[j];
    differs = differs || memcmp(&x, &y, sizeof(float)) != 0;
    sum += (x - y) * (x - y);
  }
  if (gate == Gate::kExact) return differs;
  return gate == Gate::kAll || !(sum <= limit);
}

int64_t Commit(const CommitArgs& g) {
  float* delta = g.deltas;
  int64_t count = 0;
  memset(g.bits, 0, sizeof(uint64_t) * static_cast<size_t>((g.sites + 63) / 64));
  for (int m = 0; m < g.sites; ++m) {
    const int64_t at = static_cast<int64_t>(m) * g.c;
    if (!Replaces(g.gate, g.limit, g.fresh + at, 1, g.held + at, g.c)) continue;
    for (int j = 0; j < g.c && delta != nullptr; ++j) *delta++ = g.fresh[at + j] - g.held[at + j];
    for (int j = 0; j < g.c; ++j) g.held[at + j] = g.fresh[at + j];
    g.bits[m / 64] |= uint64_t{1} << (m % 64);
    ++count;
  }
  return count;
}

int64_t CommitRows(const CommitRowsArgs& g) {
  int64_t count = 0;
  memset(g.bits, 0, sizeof(uint64_t) * static_cast<size_t>((g.sites + 63) / 64));
  for (int m = 0; m < g.sites; ++m) {
    uint64_t replaces = 0;
    count += Commit({g.fresh + static_cast<int64_t>(m) * g.c, g.held[m], 1, g.c, g.gate, g.limit, &replaces, nullptr});
    g.bits[m / 64] |= replaces << (m % 64);
  }
  return count;
}

int64_t CommitPlanar(const CommitPlanarArgs& g) {
  int64_t count = 0;
  memset(g.bits, 0, sizeof(uint64_t) * static_cast<size_t>((g.sites + 63) / 64));
  for (int m = 0; m < g.sites; ++m) {
    float* held = g.held + static_cast<int64_t>(m) * g.c;
    if (!Replaces(g.gate, g.limit, g.x + m, g.plane, held, g.c)) continue;
    for (int j = 0; j < g.c; ++j) held[j] = g.x[j * g.plane + m];
    g.bits[m / 64] |= uint64_t{1} << (m % 64);
    ++count;
  }
  return count;
}

void ToPlanar(const float* rows, int64_t row_stride, int32_t sites, int32_t c, float* out, int64_t out_plane) {
  for (int m = 0; m < sites; ++m) {
    for (int j = 0; j < c; ++j) out[j * out_plane + m] = rows[m * row_stride + j];
  }
}

void GatherChannels(const float* rows, int64_t row_stride, int32_t sites, const int32_t* idx, int32_t c, float* out,
                    int64_t out_stride) {
  for (int m = 0; m < sites; ++m) {
    for (int j = 0; j < c; ++j) out[m * out_stride + j] = rows[m * row_stride + idx[j]];
  }
}

void RowSum(const float* rows, int64_t row_stride, int32_t sites, int32_t c, float* sum) {
  for (int j = 0; j < c; ++j) {
    sum[j] = 0.0f;
    for (int m = 0; m < sites; ++m) sum[j] += rows[m * row_stride + j];
  }
}

void RowMax(const float* rows, int64_t row_stride, int32_t sites, int32_t c, float* max) {
  for (int j = 0; j < c; ++j) {
    max[j] = -INFINITY;
    for (int m = 0; m < sites; ++m) max[j] = Larger(max[j], rows[m * row_stride + j]);
  }
}

double SumSquares(const float* x, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

void U8ToF32(const uint8_t* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(x[i]);
}

}  // namespace

extern const Kernels kReference = {
    .name = "reference",
    .gemm_packed_floats = PackedFloats,
    .gemm_pack = Pack,
    .gemm = Gemm,
    .gemm_add = GemmAdd,
    .gemm_tile = 1,
    .depthwise = Depthwise,
    .depthwise_run = DepthwiseRun,
    .window_max = WindowMax,
    .window_max_run = WindowMaxRun,
    .window_weighted = WindowWeighted,
    .binary = Binary,
    .activate = Activate,
    .softmax = Softmax,
    .layer_norm = LayerNorm,
    .lrn = Lrn,
    .arg_max = ArgMax,
    .commit = Commit,
    .commit_rows = CommitRows,
    .commit_planar = CommitPlanar,
    .to_planar = ToPlanar,
    .gather_channels = GatherChannels,
    .row_sum = RowSum,
    .row_max = RowMax,
    .sum_squares = SumSquares,
    .u8_to_f32 = U8ToF32,
};

}  // namespace rrm
