// One-sided Jacobi rotations on matrices in the registers of a warp: a column in each lane.
//
// A warp holds 32 / N matrices of at most N x N side by side, N = 8, 16 or 32. Smaller ones have
// rows and columns of zeros at the end, which nothing rotates. Register arrays are indexed by
// constants alone: what varies from lane to lane goes through shuffles and selections.
#pragma once

#include "prims.cuh"

namespace subkern {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr float kNegligible = 2.384185791015625e-07f;  // 2 eps: a cosine, or a ratio of two norms
// Squared: columns shorter than this part of the longest are not rotated: rounding made them.
constexpr float kLeast = kNegligible * kNegligible / 256.0f;
constexpr float kNoLength = 7.888609e-31f;  // squared, for columns of a matrix near 1
constexpr int kMostSweeps = 16;

// Bits of info.
constexpr int32_t kBadInput = 1, kRankDeficient = 2, kUnconverged = 4;

__device__ __forceinline__ float not_a_number() { return __uint_as_float(0x7fc00000u); }

// Lanes of the matrix that the calling lane works on.
template <int N>
__device__ __forceinline__ unsigned own_lanes() {
  return (kAllLanes >> (kWarp - N)) << (threadIdx.x % kWarp / N * N);
}

template <int N>
__device__ __forceinline__ float columns_max(float x) {
#pragma unroll
  for (int apart = N / 2; apart > 0; apart /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, apart));
  }
  return x;
}

// In four partial sums; products commute, so that two lanes agree on the product of their columns.
template <int N>
__device__ __forceinline__ float dot(const float (&x)[N], const float (&y)[N]) {
  float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
  for (int i = 0; i < N; ++i) sums[i % 4] = fmaf(x[i], y[i], sums[i % 4]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// 2^-e with 2^e <= x < 2^(e+1), as two factors, which exist for every finite x: none alone would
// for the smallest. Zero counts as one.
struct Scale {
  float half, rest;
  __device__ __forceinline__ float apply(float x) const { return x * half * rest; }
};

__device__ __forceinline__ float power_of_two(int e) {
  return __uint_as_float(static_cast<uint32_t>(e + 127) << 23);
}

__device__ __forceinline__ int exponent(float x) {
  const uint32_t bits = __float_as_uint(x) & 0x7fffffffu;
  if (bits == 0) return 0;
  const int biased = static_cast<int>(bits >> 23);
  return biased > 0 ? biased - 127 : 31 - __clz(static_cast<int>(bits)) - 149;
}

__device__ __forceinline__ Scale scale_down(int e) {
  return {power_of_two(-(e / 2)), power_of_two(-(e - e / 2))};
}
__device__ __forceinline__ Scale scale_up(int e) {
  return {power_of_two(e / 2), power_of_two(e - e / 2)};
}

// What makes two columns orthogonal: own <- c own + s other.
struct Rotation {
  float c, s;
  bool needed;
};

// `square` and `other` are squared lengths, `product` is the product of the columns. The longer
// column, the first of two of equal length, gets longer. `least` is a negligible squared length.
__device__ __forceinline__ Rotation rotation(float square, float other, bool first, float product,
                                             float least) {
  const bool longer = square > other || (square == other && first);
  const float large = fmaxf(square, other), small = fminf(square, other), size = fabsf(product);
  if (small <= least || size <= kNegligible * sqrtf(large * small)) return {1.0f, 0.0f, false};
  const float z = fminf((large - small) / (2.0f * size), 1e18f);
  const float t = 1.0f / (z + sqrtf(fmaf(z, z, 1.0f)));
  float c = rsqrtf(fmaf(t, t, 1.0f)), s = c * t;
  const float excess = -0.5f * fmaf(c, c, fmaf(s, s, -1.0f));
  c = fmaf(c, excess, c);
  s = fmaf(s, excess, s);
  return {c, (product < 0.0f) == longer ? -s : s, true};
}

// Puts the columns in order of descending length, equal ones in the order they have.
template <int N, int M>
__device__ __forceinline__ void sort_columns(float (&a)[N], float (&v)[M], float& square) {
  const int lane = static_cast<int>(threadIdx.x) % N;
  int rank = 0;
#pragma unroll 8
  for (int j = 0; j < N; ++j) {
    const float other = __shfl_sync(kAllLanes, square, j, N);
    rank += other > square || (other == square && j < lane);
  }
  if (!__any_sync(kAllLanes, rank != lane)) return;
  int source = lane;
#pragma unroll 8
  for (int j = 0; j < N; ++j) {
    if (__shfl_sync(kAllLanes, rank, j, N) == lane) source = j;
  }
  square = __shfl_sync(kAllLanes, square, source, N);
#pragma unroll
  for (int i = 0; i < N; ++i) a[i] = __shfl_sync(kAllLanes, a[i], source, N);
  if constexpr (M == N) {
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = __shfl_sync(kAllLanes, v[i], source, N);
  }
}

// Rotates the columns of each matrix until they are orthogonal, longest first; v (unless M is 1)
// gets the same rotations. In a round every lane meets the lane whose number differs by the
// round's bits, so that a sweep of N - 1 rounds meets all pairs. Returns whether the sweeps did
// not suffice; `length` is the column's.
template <int N, int M>
__device__ __forceinline__ bool jacobi(float (&a)[N], float (&v)[M], float& length) {
  const int lane = static_cast<int>(threadIdx.x) % N;
  bool active = true;
  float square = 0.0f;
#pragma unroll 1
  for (int sweep = 0;; ++sweep) {
    square = dot(a, a);
    sort_columns(a, v, square);
    if (sweep == kMostSweeps || !__any_sync(kAllLanes, active)) break;
    const float least = kLeast * __shfl_sync(kAllLanes, square, 0, N);
    bool turned = false;
#pragma unroll 1
    for (int round = 1; round < N; ++round) {
      float b[N];
#pragma unroll
      for (int i = 0; i < N; ++i) b[i] = __shfl_xor_sync(kAllLanes, a[i], round);
      const float other = __shfl_xor_sync(kAllLanes, square, round);
      Rotation turn = rotation(square, other, lane < (lane ^ round), dot(a, b), least);
      turn.needed = turn.needed && active;  // a finished matrix waits for its neighbours
      if (!__any_sync(kAllLanes, turn.needed)) continue;
      if (turn.needed) {
#pragma unroll
        for (int i = 0; i < N; ++i) a[i] = fmaf(turn.c, a[i], turn.s * b[i]);
        square = dot(a, a);
        turned = true;
      }
      if constexpr (M == N) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
          const float w = __shfl_xor_sync(kAllLanes, v[i], round);
          if (turn.needed) v[i] = fmaf(turn.c, v[i], turn.s * w);
        }
      }
    }
    const unsigned turns = __ballot_sync(kAllLanes, turned) & own_lanes<N>();
    active = active && turns != 0;
  }
  length = sqrtf(square);
  return active;
}

// One Newton step towards orthonormal columns: X <- X (1.5 I - 0.5 X^T X).
template <int N>
__device__ __forceinline__ void polish(float (&x)[N]) {
  float sum[N];
  const float excess = 1.0f - dot(x, x);
#pragma unroll
  for (int i = 0; i < N; ++i) sum[i] = excess * x[i];
#pragma unroll 1
  for (int round = 1; round < N; ++round) {
    float y[N];
#pragma unroll
    for (int i = 0; i < N; ++i) y[i] = __shfl_xor_sync(kAllLanes, x[i], round);
    const float product = dot(x, y);
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] = fmaf(-product, y[i], sum[i]);
  }
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = fmaf(0.5f, sum[i], x[i]);
}

// Whether the entry of largest magnitude, the first of equal ones, is negative.
template <int N>
__device__ __forceinline__ bool points_down(const float (&x)[N]) {
  float largest = 0.0f;
  bool down = false;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (fabsf(x[i]) > largest) {
      largest = fabsf(x[i]);
      down = x[i] < 0.0f;
    }
  }
  return down;
}

}  // namespace subkern
