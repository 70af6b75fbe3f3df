// A matrix in shared memory, column by column: its way there and back.
#pragma once

#include "orthonormalize_layout.h"
#include "prims.cuh"

namespace subkern {

// Element (i, j) is at[j * pitch + i]: threads on consecutive rows meet no bank conflict.
struct SharedMatrix {
  float* at;
  int rows, cols, pitch;

  __device__ __forceinline__ float* column(int j) const { return at + j * pitch; }
};

// A matrix in device memory, strides in elements.
template <class T>
struct StridedMatrix {
  T* at;
  int64_t row_stride, col_stride;
};

// The walk of a block over a matrix in runs of kRun elements: `inner` elements lie together.
struct Walk {
  int inner, outer_step, inner_step, start_outer, start_inner;

  // Of runs that start `first`, `first + stride`, ... elements into the matrix.
  __device__ __forceinline__ Walk(int inner_length, int first, int stride)
      : inner(inner_length),
        outer_step(stride / inner_length),
        inner_step(stride % inner_length),
        start_outer(first / inner_length),
        start_inner(first % inner_length) {}

  __device__ __forceinline__ void advance(int& outer, int& at) const {
    outer += outer_step;
    at += inner_step;
    if (at >= inner) {
      at -= inner;
      ++outer;
    }
  }
};

template <class T>
__device__ __forceinline__ void load_run(const T* p, float (&x)[1]) {
  x[0] = widen(p[0]);
}
template <class T, int kRun>
__device__ __forceinline__ void load_run(const T* p, float (&x)[kRun]) {
  load_pack(p, x);
}

// Copies to shared memory. `inner`: elements that lie together in A, columns where `by_rows` holds.
// 32 elements of each thread are on their way at a time.
template <int kRun, class T>
__device__ __forceinline__ void load_walk(const T* A, int64_t outer_stride, int64_t inner_stride,
                                          bool by_rows, const SharedMatrix& Y) {
  constexpr int kBatch = kRun == 1 ? 8 : 32 / kRun;
  const int total = Y.rows * Y.cols, step = static_cast<int>(blockDim.x) * kRun;
  const int inner = by_rows ? Y.cols : Y.rows;
  const int to_outer = by_rows ? 1 : Y.pitch, to_inner = by_rows ? Y.pitch : 1;
  int e = static_cast<int>(threadIdx.x) * kRun;
  const Walk walk(inner, e, step);
  int outer = walk.start_outer, at = walk.start_inner;
  int to = outer, to_at = at;  // where the stores are
  for (; e < total; e += kBatch * step) {
    float x[kBatch][kRun];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (e + b * step < total) {
        load_run(A + (kRun == 1 ? outer * outer_stride + at * inner_stride : e + b * step), x[b]);
      }
      walk.advance(outer, at);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (e + b * step < total) {
        int row = to, col = to_at;
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
          Y.at[row * to_outer + col * to_inner] = x[b][i];
          if (++col == inner) {
            col = 0;
            ++row;
          }
        }
      }
      walk.advance(to, to_at);
    }
  }
}

// Copies a matrix of T to shared memory; vectors of 16 bytes where it is dense and aligned, either
// way around. All threads call; the block must synchronize before it reads.
template <class T>
__device__ __forceinline__ void load_shared(const StridedMatrix<const T>& A,
                                            const SharedMatrix& Y) {
  constexpr int kRun = 16 / sizeof(T);
  const bool by_rows = A.col_stride == 1 || A.row_stride != 1;
  const int64_t inner_stride = by_rows ? A.col_stride : A.row_stride;
  const int64_t outer_stride = by_rows ? A.row_stride : A.col_stride;
  const int inner = by_rows ? Y.cols : Y.rows;
  const bool dense = inner_stride == 1 && outer_stride == inner;
  if (dense && reinterpret_cast<uintptr_t>(A.at) % 16 == 0 && Y.rows * Y.cols % kRun == 0) {
    load_walk<kRun>(A.at, outer_stride, inner_stride, by_rows, Y);
  } else {
    load_walk<1>(A.at, outer_stride, inner_stride, by_rows, Y);
  }
}

// Copies to a row-major matrix without gaps.
template <int kRun>
__device__ __forceinline__ void store_walk(const SharedMatrix& Y, float* Q) {
  const int total = Y.rows * Y.cols, step = static_cast<int>(blockDim.x) * kRun;
  const Walk walk(Y.cols, static_cast<int>(threadIdx.x) * kRun, step);
  int row = walk.start_outer, col = walk.start_inner;
  for (int e = static_cast<int>(threadIdx.x) * kRun; e < total; e += step) {
    float x[kRun];
    int r = row, c = col;
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      x[i] = Y.at[c * Y.pitch + r];
      if (++c == Y.cols) {
        c = 0;
        ++r;
      }
    }
    if (kRun == 1) {
      Q[e] = x[0];
    } else {
      *reinterpret_cast<float4*>(Q + e) = make_float4(x[0], x[1 % kRun], x[2 % kRun], x[3 % kRun]);
    }
    walk.advance(row, col);
  }
}

// All threads call, after a barrier.
__device__ __forceinline__ void store_shared(const SharedMatrix& Y, float* Q) {
  if (reinterpret_cast<uintptr_t>(Q) % 16 == 0 && Y.rows * Y.cols % 4 == 0) {
    store_walk<4>(Y, Q);
  } else {
    store_walk<1>(Y, Q);
  }
}

}  // namespace subkern
