// eigh_small for matrices of 33 to 64 rows, one to a block; see eigh_small.cuh for the method.
#pragma once

#include "eigh_small.cuh"
#include "jacobi_block.cuh"

namespace subkern {

// As `definite_shift` in eigh_small.cuh.
__device__ __forceinline__ float definite_shift_block(const float* c, BlockNotes& notes) {
  if (threadIdx.x < kSide) {
    const int own = static_cast<int>(threadIdx.x);
    float radius = 0.0f;
    for (int i = 0; i < kSide; ++i) radius += i == own ? 0.0f : fabsf(c[own * kPitch + i]);
    notes.vector[own] = radius;
    notes.weights[own] = c[own * kPitch + own];
  }
  __syncthreads();
  float below = 0.0f, bound = 0.0f;
  for (int i = 0; i < kSide; ++i) {
    below = fmaxf(below, notes.vector[i] - notes.weights[i]);
    bound = fmaxf(bound, notes.vector[i] + fabsf(notes.weights[i]));
  }
  return bound > 0.0f ? below + kMargin * bound : 1.0f;
}

// As `factor` in eigh_small.cuh.
__device__ __forceinline__ void factor_block(float* a, int columns) {
  const int sub = static_cast<int>(threadIdx.x % 4);
#pragma unroll 1
  for (int k = 0; k < columns; ++k) {
    float pivot_column[kHeld];
    load_rows(a + k * kPitch, pivot_column);
    const float pivot = a[k * kPitch + k];
    own_columns([&](int column) {
      if (column <= k || pivot <= 0.0f) return;
      float x[kHeld];
      load_rows(a + column * kPitch, x);
      const float share = a[column * kPitch + k] / pivot;
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        if (4 * i + sub > k) x[i] = fmaf(-share, pivot_column[i], x[i]);
      }
      store_rows(a + column * kPitch, x);
    });
    __syncthreads();
  }
  own_columns([&](int column) {
    float x[kHeld];
    load_rows(a + column * kPitch, x);
    const float pivot = a[column * kPitch + column];
    const float inverse = pivot > 0.0f ? 1.0f / sqrtf(pivot) : 0.0f;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kHeld; ++i) x[i] = 4 * i + sub >= column ? x[i] * inverse : 0.0f;
    store_rows(a + column * kPitch, x);
  });
  __syncthreads();
}

// Arguments as in eigh_small.cuh.
template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    eigh_small_block_kernel(const T* C, int64_t batch_stride, int64_t row_stride,
                            int64_t col_stride, float* values, float* vectors, int32_t* info,
                            int64_t batch, int32_t size) {
  SK_SHARED(float, a, kSide* kPitch);
  SK_SHARED(float, c, kSide* kPitch);
  SK_SHARED(BlockNotes, shared_notes, 1);
  BlockNotes& notes = shared_notes[0];
  const int64_t matrix = blockIdx.x;
  if (matrix >= batch) return;
  const T* const own = C + matrix * batch_stride;
  for (int e = static_cast<int>(threadIdx.x); e < kSide * kPitch; e += kBlockThreads) {
    const int i = e % kPitch, j = e / kPitch, row = i > j ? i : j, col = i > j ? j : i;
    c[e] = row < size ? widen(own[row * row_stride + col * col_stride]) : 0.0f;
  }
  int scale;
  const bool bad = normalize_block(c, notes, scale);
  const float shift = definite_shift_block(c, notes);
  for (int e = static_cast<int>(threadIdx.x); e < kSide * kPitch; e += kBlockThreads) {
    const int i = e % kPitch, j = e / kPitch;
    a[e] = c[e] + (i == j && j < size ? shift : 0.0f);
  }
  __syncthreads();
  factor_block(a, size);
  const bool unfinished = jacobi_block<false>(a, nullptr, notes);
  own_columns([&](int column) {
    const float length = sqrtf(notes.keys[column]), inverse = length > 0.0f ? 1.0f / length : 0.0f;
    float x[kHeld];
    load_rows(a + column * kPitch, x);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) x[i] *= inverse;
    store_rows(a + column * kPitch, x);
  });
  polish_block(a);

  own_columns([&](int column) {
    float x[kHeld], sum = 0.0f;
    load_rows(a + column * kPitch, x);
#pragma unroll 1
    for (int k = 0; k < size; ++k) {
      float y[kHeld];
      load_rows(c + k * kPitch, y);
      sum = fmaf(a[column * kPitch + k], group_sum(dot(y, x)), sum);
    }
    if (threadIdx.x % 4 == 0) notes.keys[column] = column < size ? -sum : -3e38f;
  });
  sort_block(notes);

  signs_block(a, notes);
  write_block(a, notes, size, size, false, bad, vectors + matrix * size * size);
  const int place = static_cast<int>(threadIdx.x);
  if (place < size) {
    const float value = -notes.keys[notes.order[place]];
    values[matrix * size + place] = bad ? not_a_number() : scale_up(scale).apply(value);
  }
  if (place == 0) info[matrix] = bad ? kBadInput : unfinished ? kUnconverged : 0;
}

}  // namespace subkern
