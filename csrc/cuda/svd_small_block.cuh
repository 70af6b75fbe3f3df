// svd_small for matrices with 33 to 64 rows: one to a block.
#pragma once

#include "reflect_block.cuh"

namespace subkern {

// Arguments as in svd_small.cuh.
template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    svd_small_block_kernel(const T* A, int64_t batch_stride, int64_t row_stride, int64_t col_stride,
                           float* left, float* values, float* right, int32_t* info, int64_t batch,
                           int32_t rows, int32_t cols, int32_t transposed) {
  SK_SHARED(float, a, kSide* kPitch);
  SK_SHARED(float, v, kSide* kPitch);
  SK_SHARED(BlockNotes, shared_notes, 1);
  BlockNotes& notes = shared_notes[0];
  const int64_t matrix = blockIdx.x;
  if (matrix >= batch) return;
  const T* const own = A + matrix * batch_stride;
  const bool down = row_stride < col_stride;  // consecutive threads read what lies together
  for (int e = static_cast<int>(threadIdx.x); e < kSide * kSide; e += kBlockThreads) {
    const int i = down ? e % kSide : e / kSide, j = down ? e / kSide : e % kSide;
    const bool inside = i < rows && j < cols;
    a[j * kPitch + i] = inside ? widen(own[i * row_stride + j * col_stride]) : 0.0f;
    v[j * kPitch + i] = i == j ? 1.0f : 0.0f;
  }
  for (int e = static_cast<int>(threadIdx.x); e < kSide * 4; e += kBlockThreads) {
    a[e / 4 * kPitch + kSide + e % 4] = 0.0f;
  }
  int scale;
  const bool bad = normalize_block(a, notes, scale);
  HeldReflectors reflectors;
  reflect_block(a, cols, notes, reflectors);
  const bool unfinished = jacobi_block<true>(a, v, notes);
  unreflect_block(v, cols, notes, reflectors);
  polish_block(v);

  const float longest = sqrtf(notes.keys[notes.order[0]]);
  int good = 0;
  while (good < cols && sqrtf(notes.keys[notes.order[good]]) > kNegligible * longest) ++good;
  own_columns([&](int column) {
    const float length = sqrtf(notes.keys[column]);
    const float inverse = length > kNegligible * longest ? 1.0f / length : 0.0f;
    float x[kHeld];
    load_rows(a + column * kPitch, x);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) x[i] *= inverse;
    store_rows(a + column * kPitch, x);
  });
  complete_block(a, good, cols, cols, notes);
  restore_order_block(a, notes);
  polish_block(a);

  signs_block(transposed ? a : v, notes);
  write_block(v, notes, rows, cols, transposed, bad, left + matrix * rows * cols);
  write_block(a, notes, cols, cols, !transposed, bad, right + matrix * cols * cols);
  const int place = static_cast<int>(threadIdx.x);
  if (place < cols) {
    const float length = sqrtf(notes.keys[notes.order[place]]);
    values[matrix * cols + place] = bad ? not_a_number() : scale_up(scale).apply(length);
  }
  if (place == 0) {
    const int32_t seen = (good < cols ? kRankDeficient : 0) | (unfinished ? kUnconverged : 0);
    info[matrix] = bad ? kBadInput : seen;
  }
}

}  // namespace subkern
