// Householder QR with pivoting of matrices in the registers of a warp, a column in each lane.
#pragma once

#include "jacobi.cuh"

namespace subkern {

// Columns of shared memory start in different banks, and so do rows.
constexpr int kRowPitch = kWarp + 1;

// The reflectors of a warp's matrices, and room to move columns between lanes.
template <int N>
struct Reflectors {
  float columns[N * kRowPitch];
  float factors[kWarp];
  int32_t lanes[kWarp];  // in which the column of each step is
};

// Householder QR of the first `columns` columns, the longest of what is left at each step. The
// reflectors stay in shared memory; a becomes this lane's row of R, with R's columns in the order
// of the steps.
template <int N>
__device__ __forceinline__ void reflect(float (&a)[N], int columns, Reflectors<N>& shared) {
  const int lane = static_cast<int>(threadIdx.x) % N;
  const int first_lane = static_cast<int>(threadIdx.x) % kWarp - lane;
  float own_head = 0.0f, own_factor = 0.0f;
  int step = lane;  // of padding; the others get theirs when their turn comes
  bool waiting = true;
#pragma unroll 1
  for (int k = 0; k < columns; ++k) {
    float own = 0.0f, entry_k = 0.0f;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      own = i >= k ? fmaf(a[i], a[i], own) : own;
      entry_k = i == k ? a[i] : entry_k;
    }
    float below = waiting ? own : -1.0f;
    int pivot = lane;
#pragma unroll
    for (int apart = N / 2; apart > 0; apart /= 2) {
      const float other = __shfl_xor_sync(kAllLanes, below, apart);
      const int from = __shfl_xor_sync(kAllLanes, pivot, apart);
      const bool wins = other > below || (other == below && from < pivot);
      below = wins ? other : below;
      pivot = wins ? from : pivot;
    }
    const float head_entry = __shfl_sync(kAllLanes, entry_k, pivot, N), norm = sqrtf(below);
    const float beta = head_entry < 0.0f ? norm : -norm, head = head_entry - beta;
    const bool nothing = below <= kNoLength;  // its square would be too inexact to reflect at
    const float factor = nothing ? 0.0f : 1.0f / (norm * (norm + fabsf(head_entry)));
    float v[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float entry = __shfl_sync(kAllLanes, a[i], pivot, N);
      v[i] = i < k ? 0.0f : i == k ? head : entry;
    }
    const float along = factor * dot(v, a);
    const bool own_turn = lane == pivot;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (waiting && !own_turn) a[i] = fmaf(-along, v[i], a[i]);
      if (own_turn && i == k && !nothing) a[i] = beta;
    }
    if (own_turn) own_head = head, own_factor = factor, step = k, waiting = false;
  }
  float* const column = shared.columns + first_lane + step;
  __syncwarp();
#pragma unroll
  for (int i = 0; i < N; ++i) column[i * kRowPitch] = i <= step ? a[i] : 0.0f;
  __syncwarp();
  float row[N];
#pragma unroll
  for (int i = 0; i < N; ++i) row[i] = shared.columns[lane * kRowPitch + first_lane + i];
  __syncwarp();
#pragma unroll
  for (int i = 0; i < N; ++i) {
    column[i * kRowPitch] = i < step ? 0.0f : i == step ? own_head : a[i];
    a[i] = row[i];
  }
  shared.factors[first_lane + step] = own_factor;
  shared.lanes[first_lane + step] = lane;
  __syncwarp();
}

// x <- Q x for every lane's column, with the Q of `reflect`.
template <int N>
__device__ __forceinline__ void unreflect(float (&x)[N], int columns, const Reflectors<N>& shared) {
  const int first_lane = static_cast<int>(threadIdx.x) % kWarp / N * N;
#pragma unroll 1
  for (int k = columns - 1; k >= 0; --k) {
    float v[N];
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = shared.columns[i * kRowPitch + first_lane + k];
    const float along = shared.factors[first_lane + k] * dot(v, x);
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] = fmaf(-along, v[i], x[i]);
  }
}

// Moves rows from the order of the steps of `reflect` to that of the columns it took: `taken` is
// the lane of the column in the step of this lane's number.
template <int N>
__device__ __forceinline__ void restore_order(float (&x)[N], int32_t taken, Reflectors<N>& shared) {
  float* const column = shared.columns + threadIdx.x % kWarp;
  __syncwarp();
#pragma unroll
  for (int i = 0; i < N; ++i) {
    column[__shfl_sync(kAllLanes, taken, i, N) * kRowPitch] = x[i];
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = column[i * kRowPitch];
}

// Orthonormal columns in the place of those that are not `good`, which come after the good ones:
// the last columns of the orthogonal factor of the good ones.
template <int N>
__device__ __forceinline__ void complete(float (&x)[N], bool good, int columns,
                                         Reflectors<N>& shared) {
  const int lane = static_cast<int>(threadIdx.x) % N;
  const bool missing = !good && lane < columns;
  if (!__any_sync(kAllLanes, missing)) return;
  float y[N];
#pragma unroll
  for (int i = 0; i < N; ++i) y[i] = good ? x[i] : 0.0f;
  reflect(y, columns, shared);
#pragma unroll
  for (int i = 0; i < N; ++i) y[i] = i == lane ? 1.0f : 0.0f;
  unreflect(y, columns, shared);
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = missing ? y[i] : x[i];
}

}  // namespace subkern
