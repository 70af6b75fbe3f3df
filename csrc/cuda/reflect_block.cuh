// Householder QR with pivoting of a matrix of up to 64 columns in shared memory, by four warps.
#pragma once

#include "jacobi_block.cuh"

namespace subkern {

// A reflector from the column it was made of: zeros above its head, then the column below.
__device__ __forceinline__ void load_reflector(const float* column, int k, float head,
                                               float (&v)[kHeld]) {
  load_rows(column, v);
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int row = 4 * i + static_cast<int>(threadIdx.x % 4);
    v[i] = row < k ? 0.0f : row == k ? head : v[i];
  }
}

__device__ __forceinline__ void subtract(float (&x)[kHeld], float factor, const float (&v)[kHeld]) {
  const float along = factor * group_sum(dot(v, x));
#pragma unroll
  for (int i = 0; i < kHeld; ++i) x[i] = fmaf(-along, v[i], x[i]);
}

// The column with the largest key, the first of equal ones.
__device__ __forceinline__ int largest_key(const BlockNotes& notes) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const bool second = notes.keys[lane + kWarp] > notes.keys[lane];
  int at = second ? lane + kWarp : lane;
  float key = notes.keys[at];
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, key, apart);
    const int from = __shfl_xor_sync(kAllLanes, at, apart);
    const bool wins = other > key || (other == key && from < at);
    key = wins ? other : key;
    at = wins ? from : at;
  }
  return at;
}

// The two columns of a group that were made into reflectors, and the steps in which.
struct HeldReflectors {
  float columns[2][kHeld];
  int steps[2];
};

// As `reflect` in jacobi.cuh: a becomes the transpose of R, the reflectors stay in registers, their
// first entries and factors in `notes`.
__device__ __forceinline__ void reflect_block(float* a, int columns, BlockNotes& notes,
                                              HeldReflectors& held) {
  const int sub = static_cast<int>(threadIdx.x % 4);
  bool waiting[2] = {true, true};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    held.steps[half] = own_group() + half * kGroups;
    load_rows(a + held.steps[half] * kPitch, held.columns[half]);
  }
#pragma unroll 1
  for (int k = 0; k < columns; ++k) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float square = 0.0f;
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        const float x = held.columns[half][i];
        square = 4 * i + sub >= k ? fmaf(x, x, square) : square;
      }
      square = group_sum(square);
      if (sub == 0) notes.keys[own_group() + half * kGroups] = waiting[half] ? square : -1.0f;
    }
    __syncthreads();
    const int pivot = largest_key(notes);
    const float below = notes.keys[pivot], norm = sqrtf(below);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (pivot == own_group() + half * kGroups) store_rows(notes.pivot, held.columns[half]);
    }
    __syncthreads();
    const float first = notes.pivot[k], beta = first < 0.0f ? norm : -norm, head = first - beta;
    const bool nothing = below <= kNoLength;
    const float factor = nothing ? 0.0f : 1.0f / (norm * (norm + fabsf(first)));
    float v[kHeld];
    load_reflector(notes.pivot, k, head, v);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int column = own_group() + half * kGroups;
      const bool own_turn = column == pivot;
      subtract(held.columns[half], waiting[half] && !own_turn ? factor : 0.0f, v);
      if (!own_turn) continue;
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        if (4 * i + sub == k && !nothing) held.columns[half][i] = beta;
      }
      waiting[half] = false;
      held.steps[half] = k;
      if (sub == 0) notes.heads[k] = head, notes.factors[k] = factor;
    }
  }
  __syncthreads();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int step = held.steps[half];
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const int row = 4 * i + sub;
      a[row * kPitch + step] = row <= step ? held.columns[half][i] : 0.0f;
    }
    if (sub == 0) notes.taken[step] = own_group() + half * kGroups;
  }
  __syncthreads();
}

// x <- Q x for every column, with the Q of `reflect_block`.
__device__ __forceinline__ void unreflect_block(float* x, int columns, BlockNotes& notes,
                                                const HeldReflectors& held) {
  __syncthreads();
  float u[2][kHeld];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    load_rows(x + (own_group() + half * kGroups) * kPitch, u[half]);
  }
#pragma unroll 1
  for (int k = columns - 1; k >= 0; --k) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (k == held.steps[half]) store_rows(notes.pivot, held.columns[half]);
    }
    __syncthreads();
    float v[kHeld];
    load_reflector(notes.pivot, k, notes.heads[k], v);
#pragma unroll
    for (int half = 0; half < 2; ++half) subtract(u[half], notes.factors[k], v);
    __syncthreads();
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    store_rows(x + (own_group() + half * kGroups) * kPitch, u[half]);
  }
  __syncthreads();
}

// Moves rows from the order of the steps of `reflect_block` to that of the columns it took.
__device__ __forceinline__ void restore_order_block(float* x, const BlockNotes& notes) {
  own_columns([&](int column) {
    float held[kHeld];
    load_rows(x + column * kPitch, held);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      x[column * kPitch + notes.taken[4 * i + threadIdx.x % 4]] = held[i];
    }
  });
  __syncthreads();
}

}  // namespace subkern
