// The stage between the products of a low-rank Adam step: R from its partial sums, moments, the
// direction; for Fira also the norms, phi and the limiter. blockIdx.y is the parameter.
#pragma once

#include "adam_core.cuh"

namespace subkern {

constexpr int kMomentsParams = 112;  // whose addresses fit the 4 KB of kernel arguments

struct MomentsArguments {
  float* exp_avg[kMomentsParams];  // rows x cols, contiguous
  float* exp_avg_sq[kMomentsParams];
  const float* step[kMomentsParams];
  float* limiter[kMomentsParams];  // fira
  const float* partials;           // slices x (all parameters) x rows x ld
  const int32_t* tile_flags;       // parameters x tiles
  const float* squares;            // square_slices x (all parameters) x columns; fira
  int32_t* counters;               // parameters; zero
  void* direction;                 // parameters x rows x ld
  void* lowrank;                   // the same; fira
  float* phi;                      // parameters x columns; fira
  float* scalars;                  // parameters x 4
  float* block_sums;               // parameters x blocks x 2; fira
  int64_t rows, cols, ld, columns;
  int64_t partials_slice, squares_slice;  // elements between slices
  int32_t slices, square_slices, tiles;
  AdamScalars adam;
  float scale, residual_scale, norm_eps;
  double gamma;
  bool matrix_norm;
};
static_assert(sizeof(MomentsArguments) <= 4096, "kernel arguments");

constexpr int kGaloreWarps = 8;
constexpr int kGaloreUnits = 32;   // runs of kRun elements in a block
constexpr int kRun = 4 * kWarp;    // consecutive elements of a row that a warp handles
constexpr int kColumnsStrip = 32;  // columns of R in a block
constexpr int kColumnsWarps = 16;  // at most; each adds up 4 rows in turn
constexpr int kRowsWarps = 8;
constexpr int kRowsPerWarp = 4;

enum MomentsKind : int { kMomentsGalore = 0, kMomentsColumns = 1, kMomentsRows = 2 };

// Of one parameter. A sum's order follows from rows and cols alone.
struct MomentsGeometry {
  int64_t blocks;
  int threads;
};

__host__ __device__ inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

__host__ __device__ inline MomentsGeometry moments_geometry(MomentsKind kind, int64_t rows,
                                                            int64_t cols) {
  if (kind == kMomentsGalore) {
    return {ceil_div(rows * ceil_div(cols, kRun), kGaloreUnits), kGaloreWarps * kWarp};
  }
  if (kind == kMomentsRows) return {ceil_div(rows, kRowsWarps * kRowsPerWarp), kRowsWarps * kWarp};
  int warps = 1;
  while (warps < kColumnsWarps && 4 * warps < rows) warps *= 2;
  return {ceil_div(cols, kColumnsStrip), warps * kWarp};
}

// Four elements by an instruction of its own: here nvcc makes four of a plain store.
__device__ __forceinline__ void store_four(float* p, const float (&x)[4]) {
  __stwb(reinterpret_cast<float4*>(p), make_float4(x[0], x[1], x[2], x[3]));
}
__device__ __forceinline__ void store_four(bf16* p, const float (&x)[4]) {
  __stwb(reinterpret_cast<uint2*>(p), make_uint2(join(x[0], x[1]), join(x[2], x[3])));
}

// Four elements of a thread: consecutive ones of a row when kVector, which takes cols and the
// addresses to be multiples of four elements; else steps of kDown rows or kAcross columns.
template <bool kVector, int kDown, int kAcross>
struct Quad {
  int64_t row, col, rows, cols;

  __device__ __forceinline__ int64_t at(int e, int64_t ld) const {
    return kVector ? row * ld + col + e : (row + e * kDown) * ld + col + e * kAcross;
  }
  __device__ __forceinline__ bool has(int e) const {
    return kVector ? row < rows && col < cols : row + e * kDown < rows && col + e * kAcross < cols;
  }
  __device__ __forceinline__ void load(const float* p, int64_t ld, float (&x)[4]) const {
    if constexpr (kVector) {
      if (has(0)) load_pack(p + at(0, ld), x);
    } else {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (has(e)) x[e] = p[at(e, ld)];
      }
    }
  }
  template <class T>
  __device__ __forceinline__ void store(T* p, int64_t ld, const float (&x)[4]) const {
    if constexpr (kVector) {
      if (has(0)) store_four(p + at(0, ld), x);
    } else {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (has(e)) narrow(x[e], p[at(e, ld)]);
      }
    }
  }
};

// One parameter of a launch, as its blocks see it.
template <class T>
struct Moments {
  int64_t offset;  // of its scratch matrices
  const float* partials;
  float* M;
  float* V;
  T* direction;

  __device__ __forceinline__ explicit Moments(const MomentsArguments& a) {
    const int64_t p = blockIdx.y;
    offset = p * a.rows * a.ld;
    partials = a.partials + offset;
    M = a.exp_avg[p];
    V = a.exp_avg_sq[p];
    direction = static_cast<T*>(a.direction) + offset;
  }

  // Loads R (r) and updates M and V; n becomes N.
  template <class Four>
  __device__ __forceinline__ void advance(const MomentsArguments& a, const Four& quad,
                                          float (&r)[4], float (&n)[4]) const {
    float m[4] = {}, v[4] = {};
    quad.load(M, a.cols, m);
    quad.load(V, a.cols, v);
    quad.load(partials, a.ld, r);
    for (int slice = 1; slice < a.slices; ++slice) {
      float more[4] = {};
      quad.load(partials + slice * a.partials_slice, a.ld, more);
#pragma unroll
      for (int e = 0; e < 4; ++e) r[e] += more[e];
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) n[e] = adam_direction(a.adam, r[e], m[e], v[e]);
    quad.store(M, a.cols, m);
    quad.store(V, a.cols, v);
  }
};

// Whether the parameter is skipped, for all threads, who must all call; fills `factors`.
__device__ __forceinline__ bool start_moments(const MomentsArguments& a, StepFactors& factors) {
  int found = 0;
  if (a.adam.check_finite) {
    const int32_t* const flags = a.tile_flags + static_cast<int64_t>(blockIdx.y) * a.tiles;
    for (int i = threadIdx.x; i < a.tiles; i += blockDim.x) found |= flags[i];
  }
  if (threadIdx.x == 0) factors = step_factors(a.adam, *a.step[blockIdx.y]);
  return __syncthreads_or(found) != 0;
}

__device__ __forceinline__ void write_scalars(const MomentsArguments& a, const StepFactors& factors,
                                              float limit, bool skip) {
  float* const out = a.scalars + 4 * static_cast<int64_t>(blockIdx.y);
  out[0] = static_cast<float>(factors.eta);
  out[1] = static_cast<float>(factors.decay);
  out[2] = limit;
  out[3] = skip ? 1.0f : 0.0f;
}

template <class T, bool kVector>
__global__ void __launch_bounds__(kGaloreWarps* kWarp)
    galore_moments_kernel(const __grid_constant__ MomentsArguments a) {
  SK_SHARED(StepFactors, factors, 1);
  const bool skip = start_moments(a, factors[0]);
  if (blockIdx.x == 0 && threadIdx.x == 0) write_scalars(a, factors[0], 1.0f, skip);
  if (skip) return;
  const float factor = static_cast<float>(-factors[0].eta * a.scale);
  const Moments<T> x(a);
  const int64_t runs = ceil_div(a.cols, kRun), units = a.rows * runs;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kGaloreUnits;
  const int64_t last = first + kGaloreUnits < units ? first + kGaloreUnits : units;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  int64_t unit = first + warp, row = unit / runs, run = unit % runs;
  const int64_t down = kGaloreWarps / runs, across = kGaloreWarps % runs;
  for (; unit < last; unit += kGaloreWarps) {
    const Quad<kVector, 0, kWarp> quad{row, run * kRun + (kVector ? 4 * lane : lane), a.rows,
                                       a.cols};
    float r[4] = {}, n[4];
    x.advance(a, quad, r, n);
#pragma unroll
    for (int e = 0; e < 4; ++e) n[e] *= factor;
    quad.store(x.direction, a.ld, n);
    row += down, run += across;
    if (run >= runs) run -= runs, ++row;
  }
}

}  // namespace subkern
