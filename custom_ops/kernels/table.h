// The kernels' contract: one table of function pointers per ISA level, chosen once per session (dispatch.cc).
//
// Terms: a *site* is one (y, x) of a map with its channels; a *row* is the site's channels, contiguous floats.
// Everywhere: sizes in floats unless a name says bytes; no pointer needs more than 4-byte alignment; nothing
// outside the stated ranges is read or written; inputs and outputs do not overlap unless stated.
//
// Equal bits: within one level the value of an output row depends on nothing but its own inputs: not on how many
// sites are in the call, on their position in it, or on which other function (dense path, sparse path) computed it.
// Sums run in the order stated at each function, one accumulator per output element, fused multiply-add where the
// level has it (never left to the compiler: -ffp-contract=off).
//
// This header and everything below kernels/ includes no STL: see custom_ops/README.md.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace rrm {

enum class Act : int32_t {
  kNone,
  kRelu,
  kLeakyRelu,
  kPRelu,
  kClip,
  kSigmoid,
  kHardSigmoid,
  kHardSwish,
  kSilu,
  kTanh,
  kGelu,
  kElu,
  kAbs,
  kNeg,
  kExp,
  kSqrt,
  kErf,
  kSoftplus,
  kMish,
  kSign,
  kLog,
  kGeluTanh,
  kSquare,
};

// a, b: the parameters in the order of the operator's activation_params. slopes: PRelu only, one per channel.
struct Activation {
  Act kind;
  float a, b;
  const float* slopes;
};

enum class BinaryOp : int32_t { kAdd, kSub, kMul, kDiv, kMax, kMin, kPow };

// How a commit decides whether a fresh row replaces the held one.
enum class Gate : int32_t { kAll, kExact, kRms };

// out[m][j] = bias[j] + sum_k a[m][k] * w[k][j], k ascending, accumulators start at bias.
// Row m of a is made of `pieces` pieces: piece p begins at rows[p * rows_stride + m] and has lens[p] floats.
// sum(lens) == the k that `packed` was made for. Output row m begins at out + m * out_stride, n floats.
// ahead: null, or rows of n floats, one per site, that the caller touches next: they are fetched meanwhile.
// fetches: input rows may be far away, those of later sites are fetched while earlier ones are computed (a level may
// leave it).
struct GemmArgs {
  const float* const* rows;
  int64_t rows_stride;
  const int32_t* lens;
  int32_t pieces;
  int32_t sites;
  const float* packed;
  int32_t k;
  int32_t n;
  float* out;
  int64_t out_stride;
  const float* const* ahead;
  bool fetches;
};

// outs[m][column + j] += sum_k rows[m][k] * w[first + k][j], k ascending from 0 to count - 1, the sum taken from zero
// and then added; j < n. w: weights packed by gemm_pack for k x n. Row m of outs has room for gemm_packed_floats(0, n)
// floats from `column` on, of which those from n on are touched as well, and is not another row of outs. A level may
// have none (a null pointer in its table): its packed weights have no rows of k.
struct GemmAddArgs {
  const float* const* rows;
  float* const* outs;
  int32_t sites;
  const float* packed;
  int32_t k;
  int32_t n;
  int32_t first;
  int32_t count;
  int32_t column;
};

// out[m][j] = bias[j] + sum_t rows[t * rows_stride + m][j] * w[t * w_stride + j], t ascending. Null rows count as zero
// and are skipped (their products are not added).
struct DepthwiseArgs {
  const float* const* rows;
  int64_t rows_stride;
  int32_t taps;
  int32_t sites;
  const float* w;
  int64_t w_stride;
  const float* bias;
  int32_t c;
  float* out;
  int64_t out_stride;
};

// Asks the first-level cache for what lies at p. The empty asm: gcc takes a loop that only prefetches for one without
// effects, and leaves it out. (Inlined: no level's code may be taken for another's.)
inline __attribute__((always_inline)) void Prefetch(const void* p) {
  __builtin_prefetch(p);
  asm volatile("");
}

// Kernel rows of RunArgs, at most.
constexpr int32_t kMostBands = 15;

// depthwise and window_max where the sites are neighbours: equal bits. Tap (ky, kx) of site m is the row of column
// `column` + m * stride + kx * dilation, `pitch` floats each, of bands[ky]; taps outside of the `width` columns are
// skipped, and so are null bands. w, bias: for depthwise. ahead: as in GemmArgs.
struct RunArgs {
  const float* const* bands;
  int32_t kernel_h;
  int32_t kernel_w;
  int32_t column;
  int32_t width;
  int32_t stride;
  int32_t dilation;
  int64_t pitch;
  int32_t sites;
  const float* w;
  int64_t w_stride;
  const float* bias;
  int32_t c;
  float* out;
  int64_t out_stride;
  const float* const* ahead;
};

// Windows over rows: null rows are not part of the window. Max: out = max over the taps (t ascending, NaN as x86 max).
// Weighted: out[m][j] = sum_t weights[t * rows_stride + m] * rows[t * rows_stride + m][j], starting from the first
// product rounded, then fused adds, t ascending (average pooling: weights = 1/count... ; linear resize: 4 taps).
// A window without rows gives -inf (max) or -0.0 (weighted).
struct WindowArgs {
  const float* const* rows;
  int64_t rows_stride;
  int32_t taps;
  int32_t sites;
  const float* weights;
  int32_t c;
  float* out;
  int64_t out_stride;
};

// out[m][j] = a[m][j] op b[m][j]; row m of a begins at a + m * a_stride. a_wide / b_wide = false: that side has one
// channel, broadcast over c. A stride of 0 broadcasts over sites. out may equal a or b when their strides are equal.
struct BinaryArgs {
  BinaryOp op;
  const float* a;
  int64_t a_stride;
  bool a_wide;
  const float* b;
  int64_t b_stride;
  bool b_wide;
  int32_t sites;
  int32_t c;
  float* out;
  int64_t out_stride;
};

// Functions of a row's channels. Row m is c floats at rows + m * row_stride; its result is c floats at out + m * c.
// Sums over channels: element j goes to accumulator j % width, lanes added pairwise at the end; in softmax in ascending
// order where c is below two registers.
struct RowArgs {
  const float* rows;
  int64_t row_stride;
  int32_t sites;
  int32_t c;
  float* out;
};

// size: channels of the window, (size - 1) / 2 of them, rounded down, before the channel itself.
struct LrnParameters {
  int32_t size;
  float alpha, beta, bias;
};
constexpr int32_t kMostLrn = 64;  // channels of a window

// Rows fresh[m] (m < sites, contiguous, c floats) against held[m] (contiguous, c floats). For each m that replaces its
// held row, held is overwritten and bit m of bits (bit m % 64 of word m / 64) is set; other bits of the
// ceil(sites / 64) words are cleared.
//   kAll: every row replaces.  kExact: a row replaces if any bit of it differs.
//   kRms: a row replaces if sum_j (fresh - held)^2 > limit. (Lanes: element j goes to accumulator j % width, tail
//         masked; lanes added pairwise at the end; NaN replaces.) limit is already squared and multiplied by c.
// deltas: null, or room for sites rows: fresh - held of those that replaced, one after the other (not with kAll).
// Returns the number of rows that replaced.
struct CommitArgs {
  const float* fresh;
  float* held;
  int32_t sites;
  int32_t c;
  Gate gate;
  float limit;
  uint64_t* bits;
  float* deltas;
};

// As CommitArgs, for held rows that lie apart: site m's is held[m]. Not with kAll; no two are the same row.
struct CommitRowsArgs {
  const float* fresh;
  float* const* held;
  int32_t sites;
  int32_t c;
  Gate gate;
  float limit;
  uint64_t* bits;
};

// As CommitArgs, for planar input: channel j of site m is x[j * plane + m]. room: for kPlanarSites * c floats, or null
// where c is 1.
constexpr int kPlanarSites = 64;
struct CommitPlanarArgs {
  const float* x;
  int64_t plane;
  float* room;
  float* held;
  int32_t sites;
  int32_t c;
  Gate gate;
  float limit;
  uint64_t* bits;
};

struct Kernels {
  const char* name;  // "portable", "avx2", "avx512", "amx", "neon"

  // Packed weights: floats needed, and packing of w [k][n] row-major with bias [n] (bias is packed too).
  int64_t (*gemm_packed_floats)(int32_t k, int32_t n);
  void (*gemm_pack)(const float* w, int32_t k, int32_t n, const float* bias, float* packed);
  void (*gemm)(const GemmArgs& args);
  void (*gemm_add)(const GemmAddArgs& args);
  int32_t gemm_tile;  // sites per register tile for wide n: call gemm with multiples of it where possible

  void (*depthwise)(const DepthwiseArgs& args);
  void (*depthwise_run)(const RunArgs& args);
  void (*window_max)(const WindowArgs& args);
  void (*window_max_run)(const RunArgs& args);
  void (*window_weighted)(const WindowArgs& args);
  void (*binary)(const BinaryArgs& args);
  // In place over rows x[sites][c], contiguous.
  void (*activate)(float* x, int32_t sites, int32_t c, const Activation& act);
  // out[m][j] = exp(x - max) / sum of exp(x - max) over the row, or with `log` its logarithm. A row with a NaN, or with
  // an infinite maximum, is all NaN.
  void (*softmax)(const RowArgs& args, bool log);
  // out[m][j] = (x - mean) / sqrt(mean of (x - mean)^2 + epsilon) * scale[j] + bias[j], means over the row.
  void (*layer_norm)(const RowArgs& args, const float* scale, const float* bias, float epsilon);
  // out[m][j] = x / (bias + alpha / size * s) ^ beta, s the sum of the squares of the window's channels, ascending.
  void (*lrn)(const RowArgs& args, const LrnParameters& parameters);
  // out[m] = number of the row's greatest channel; of equal ones the first, or the last. Channels in ascending order:
  // one takes over where it is greater than the greatest so far, with `last` where it is not less.
  void (*arg_max)(const RowArgs& args, bool last);
  int64_t (*commit)(const CommitArgs& args);
  int64_t (*commit_rows)(const CommitRowsArgs& args);
  int64_t (*commit_planar)(const CommitPlanarArgs& args);
  // out[j * out_plane + m] = rows[m * row_stride + j], m < sites, j < c.
  void (*to_planar)(const float* rows, int64_t row_stride, int32_t sites, int32_t c, float* out, int64_t out_plane);
  // out[m * out_stride + j] = rows[m * row_stride + idx[j]]
  void (*gather_channels)(const float* rows, int64_t row_stride, int32_t sites, const int32_t* idx, int32_t c,
                          float* out, int64_t out_stride);
  // sum[j] = sum over m of rows[m * row_stride + j], m ascending, starting from zero.  max likewise from -inf.
  void (*row_sum)(const float* rows, int64_t row_stride, int32_t sites, int32_t c, float* sum);
  void (*row_max)(const float* rows, int64_t row_stride, int32_t sites, int32_t c, float* max);
  // Sum of squares in double (order free: it sets a scale once per stream).
  double (*sum_squares)(const float* x, int64_t n);
  void (*u8_to_f32)(const uint8_t* x, int64_t n, float* out);
};

// The naive loops that every level is tested against (reference.cc); gemm_pack keeps [k][n] and bias as they are.
extern const Kernels kReference;

// Levels this machine can run, best first; nullptr past the end.
const Kernels* available_kernels(int32_t index);
// By name; nullptr when unknown or when this machine (CPU or kernel) cannot run it.
const Kernels* find_kernels(const char* name);
// Names of the CPU features found, separated by blanks (static storage).
const char* cpu_feature_names();

// Denormals count as zero and results flush to zero while one lives, on every thread that computes: the same bits on
// all threads, and no slow path.
class FlushDenormals {
 public:
  FlushDenormals() noexcept;
  ~FlushDenormals() noexcept;
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  uint64_t saved_;
};

}  // namespace rrm
