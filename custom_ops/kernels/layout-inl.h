// to_planar, gather_channels, row_sum, row_max; and Quad: the turns of rows and planes that commit and commit_planar
// share.
#pragma once

namespace rrm {
namespace RRM_LEVEL {
namespace {

// Four floats whatever the level: a 4 x 4 block is eight shuffles for sixteen floats, near the speed of the caches.
typedef float Quad __attribute__((vector_size(16)));
typedef int32_t QuadIndex __attribute__((vector_size(16)));

inline Quad LoadQuad(const float* p) {
  Quad x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
inline void StoreQuad(float* p, Quad x) { __builtin_memcpy(p, &x, sizeof(x)); }

#if defined(__clang__)
#define RRM_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define RRM_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, QuadIndex{i, j, k, l})
#endif

// Rows become columns.
inline void Transpose(Quad (&r)[4]) {
  const Quad a = RRM_SHUFFLE(r[0], r[1], 0, 4, 1, 5);
  const Quad b = RRM_SHUFFLE(r[0], r[1], 2, 6, 3, 7);
  const Quad c = RRM_SHUFFLE(r[2], r[3], 0, 4, 1, 5);
  const Quad d = RRM_SHUFFLE(r[2], r[3], 2, 6, 3, 7);
  r[0] = RRM_SHUFFLE(a, c, 0, 1, 4, 5);
  r[1] = RRM_SHUFFLE(a, c, 2, 3, 6, 7);
  r[2] = RRM_SHUFFLE(b, d, 0, 1, 4, 5);
  r[3] = RRM_SHUFFLE(b, d, 2, 3, 6, 7);
}

// in[i * in_stride + j] -> out[j * out_stride + i], i < rows, j < columns. Four rows of out are filled at a time: more
// would fight for the same lines of the cache where out_stride is a large power of two.
inline void TransposeBlocks(const float* in, int64_t in_stride, int rows, int columns, float* out, int64_t out_stride) {
  int j = 0;
  for (; j + 4 <= columns; j += 4) {
    const float* p = in + j;
    float* q = out + j * out_stride;
    int i = 0;
    for (; i + 4 <= rows; i += 4, p += 4 * in_stride, q += 4) {
      Quad block[4] = {LoadQuad(p), LoadQuad(p + in_stride), LoadQuad(p + 2 * in_stride), LoadQuad(p + 3 * in_stride)};
      Transpose(block);
      StoreQuad(q, block[0]);
      StoreQuad(q + out_stride, block[1]);
      StoreQuad(q + 2 * out_stride, block[2]);
      StoreQuad(q + 3 * out_stride, block[3]);
    }
    for (; i < rows; ++i, p += in_stride, ++q) {
      for (int r = 0; r < 4; ++r) q[r * out_stride] = p[r];
    }
  }
  for (; j < columns; ++j) {
    for (int i = 0; i < rows; ++i) out[j * out_stride + i] = in[i * in_stride + j];
  }
}

// Two channels side by side: four sites are two quads.
inline void SplitPairs(const float* rows, int sites, float* first, float* second) {
  int m = 0;
  for (; m + 4 <= sites; m += 4) {
    const Quad a = LoadQuad(rows + 2 * m);
    const Quad b = LoadQuad(rows + 2 * m + 4);
    StoreQuad(first + m, RRM_SHUFFLE(a, b, 0, 2, 4, 6));
    StoreQuad(second + m, RRM_SHUFFLE(a, b, 1, 3, 5, 7));
  }
  for (; m < sites; ++m) {
    first[m] = rows[2 * m];
    second[m] = rows[2 * m + 1];
  }
}

// Four rows of three (r0 g0 b0 r1 | g1 b1 r2 g2 | b2 r3 g3 b3) become their three columns.
inline void SplitTriple(Quad& a, Quad& b, Quad& c) {
  const Quad r = RRM_SHUFFLE(RRM_SHUFFLE(a, b, 0, 3, 6, 6), c, 0, 1, 2, 5);
  const Quad g = RRM_SHUFFLE(RRM_SHUFFLE(a, b, 1, 4, 7, 7), c, 0, 1, 2, 6);
  c = RRM_SHUFFLE(RRM_SHUFFLE(a, b, 2, 5, 5, 5), c, 0, 1, 4, 7);
  a = r;
  b = g;
}

// Three channels side by side: four sites are three quads.
inline void SplitTriples(const float* rows, int sites, float* out, int64_t plane) {
  int m = 0;
  for (; m + 4 <= sites; m += 4) {
    Quad a = LoadQuad(rows + 3 * m), b = LoadQuad(rows + 3 * m + 4), c = LoadQuad(rows + 3 * m + 8);
    SplitTriple(a, b, c);
    StoreQuad(out + m, a);
    StoreQuad(out + plane + m, b);
    StoreQuad(out + 2 * plane + m, c);
  }
  for (; m < sites; ++m) {
    for (int j = 0; j < 3; ++j) out[j * plane + m] = rows[3 * m + j];
  }
}

// Three planes to rows of three: four sites are three quads.
inline void JoinTriples(const float* x, int64_t plane, int sites, float* rows) {
  int m = 0;
  for (; m + 4 <= sites; m += 4) {
    const Quad a = LoadQuad(x + m);
    const Quad b = LoadQuad(x + plane + m);
    const Quad c = LoadQuad(x + 2 * plane + m);
    const Quad ab = RRM_SHUFFLE(a, b, 0, 4, 1, 5);   // a0 b0 a1 b1
    const Quad ab2 = RRM_SHUFFLE(a, b, 2, 6, 3, 7);  // a2 b2 a3 b3
    StoreQuad(rows + 3 * m, RRM_SHUFFLE(ab, c, 0, 1, 4, 2));
    const Quad bc = RRM_SHUFFLE(ab, c, 3, 5, 3, 5);  // b1 c1
    StoreQuad(rows + 3 * m + 4, RRM_SHUFFLE(bc, ab2, 0, 1, 4, 5));
    const Quad ca = RRM_SHUFFLE(ab2, c, 6, 2, 3, 7);  // c2 a3 b3 c3
    StoreQuad(rows + 3 * m + 8, ca);
  }
  for (; m < sites; ++m) {
    for (int j = 0; j < 3; ++j) rows[3 * m + j] = x[j * plane + m];
  }
}

// kPlanarSites a pass: each writes whole cache lines of a plane while the rows stay in the cache.
void ToPlanar(const float* rows, int64_t row_stride, int32_t sites, int32_t c, float* out, int64_t out_plane) {
  if (c == 1 && row_stride == 1) {
    __builtin_memcpy(out, rows, static_cast<size_t>(sites) * sizeof(float));
    return;
  }
  if (c == 2 && row_stride == 2) return SplitPairs(rows, sites, out, out + out_plane);
  if (c == 3 && row_stride == 3) return SplitTriples(rows, sites, out, out_plane);
  for (int m = 0; m < sites; m += kPlanarSites) {
    const int block = sites - m < kPlanarSites ? sites - m : kPlanarSites;
    TransposeBlocks(rows + m * row_stride, row_stride, block, c, out + m, out_plane);
  }
}

void GatherChannels(const float* rows, int64_t row_stride, int32_t sites, const int32_t* idx, int32_t c, float* out,
                    int64_t out_stride) {
  for (int m = 0; m < sites; ++m, rows += row_stride, out += out_stride) {
    for (int j = 0; j < c; ++j) out[j] = rows[idx[j]];
  }
}

// Folds rows into out, channel by channel, m ascending; NV vectors of channels at a time.
template <int NV, class F>
inline void FoldColumns(const float* rows, int64_t row_stride, int sites, Vec start, F f, float* out) {
  Vec acc[NV];
  for (int v = 0; v < NV; ++v) acc[v] = start;
  for (int m = 0; m < sites; ++m, rows += row_stride) {
    for (int v = 0; v < NV; ++v) acc[v] = f(acc[v], Load(rows + v * kLanes));
  }
  for (int v = 0; v < NV; ++v) Store(out + v * kLanes, acc[v]);
}

template <class F>
inline void FoldRows(const float* rows, int64_t row_stride, int sites, int c, Vec start, F f, float* out) {
  int j = 0;
  for (; j + 4 * kLanes <= c; j += 4 * kLanes) FoldColumns<4>(rows + j, row_stride, sites, start, f, out + j);
  for (; j + kLanes <= c; j += kLanes) FoldColumns<1>(rows + j, row_stride, sites, start, f, out + j);
  if (j < c) {
    Vec acc = start;
    for (int m = 0; m < sites; ++m) acc = f(acc, LoadN(rows + m * row_stride + j, c - j));
    StoreN(out + j, acc, c - j);
  }
}

void RowSum(const float* rows, int64_t row_stride, int32_t sites, int32_t c, float* sum) {
  FoldRows(rows, row_stride, sites, c, Zero(), [](Vec acc, Vec x) { return Add(acc, x); }, sum);
}

void RowMax(const float* rows, int64_t row_stride, int32_t sites, int32_t c, float* max) {
  FoldRows(rows, row_stride, sites, c, Set(-__builtin_inff()), [](Vec acc, Vec x) { return Max(acc, x); }, max);
}

}  // namespace
}  // namespace RRM_LEVEL
}  // namespace rrm
