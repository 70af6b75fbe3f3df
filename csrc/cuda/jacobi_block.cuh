// One-sided Jacobi rotations on a matrix of 33 to 64 columns in shared memory, by four warps.
//
// Columns lie one after the other, padded by zeros to 64 x 64. Groups of four lanes hold a column
// or two in registers while they work on it, every fourth row in each lane. Columns are never
// moved: `order` says which one has which place.
#pragma once

#include "jacobi.cuh"

namespace subkern {

constexpr int kBlockThreads = 128, kSide = 64, kGroups = kSide / 2;
constexpr int kPitch = kSide + 4;  // eight columns begin in eight different banks
constexpr int kHeld = kSide / 4;   // rows in a lane

// What the four warps share beside the matrices.
struct BlockNotes {
  float keys[kSide];  // of columns: squared lengths, by which they are sorted
  int32_t order[kSide];
  float vector[kSide], weights[kSide];               // of `complete_block`
  float pivot[kSide], heads[kSide], factors[kSide];  // of reflect_block.cuh
  int32_t taken[kSide];                              // the column of each step
  float largest[kBlockThreads / kWarp];
};

__device__ __forceinline__ int own_group() { return static_cast<int>(threadIdx.x) / 4; }

__device__ __forceinline__ void load_rows(const float* column, float (&x)[kHeld]) {
#pragma unroll
  for (int i = 0; i < kHeld; ++i) x[i] = column[4 * i + threadIdx.x % 4];
}
__device__ __forceinline__ void store_rows(float* column, const float (&x)[kHeld]) {
#pragma unroll
  for (int i = 0; i < kHeld; ++i) column[4 * i + threadIdx.x % 4] = x[i];
}
__device__ __forceinline__ float group_sum(float x) {
  x += __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}

// Calls visit(column, index of the column's rows) for the two columns of each group.
template <class Visit>
__device__ __forceinline__ void own_columns(const Visit& visit) {
  visit(own_group());
  visit(own_group() + kGroups);
}

// Puts the columns in order of descending keys, equal ones in the order of their numbers.
__device__ __forceinline__ void sort_block(BlockNotes& notes) {
  __syncthreads();
  if (threadIdx.x < kSide) {
    const int own = static_cast<int>(threadIdx.x);
    const float key = notes.keys[own];
    int rank = 0;
#pragma unroll 4
    for (int j = 0; j < kSide; ++j) {
      rank += notes.keys[j] > key || (notes.keys[j] == key && j < own);
    }
    notes.order[rank] = own;
  }
  __syncthreads();
}

// As `jacobi` in jacobi.cuh: rotates the columns of a, and of v unless it is null, until those of
// a are orthogonal, and sorts them by length. Returns whether the sweeps did not suffice.
template <bool kWithV>
__device__ __forceinline__ bool jacobi_block(float* a, float* v, BlockNotes& notes) {
  bool active = true;
#pragma unroll 1
  for (int sweep = 0;; ++sweep) {
    own_columns([&](int column) {
      float x[kHeld];
      load_rows(a + column * kPitch, x);
      const float square = group_sum(dot(x, x));
      if (threadIdx.x % 4 == 0) notes.keys[column] = square;
    });
    sort_block(notes);
    if (sweep == kMostSweeps || !active) break;
    const float least = kLeast * notes.keys[notes.order[0]];
    int turned = 0;
#pragma unroll 1
    for (int round = 1; round < kSide; ++round) {
      // Places that differ by the bits of `round`: the first has its highest bit clear.
      const int low = own_group() & ((1 << (31 - __clz(round))) - 1);
      const int place = 2 * own_group() - low, partner = place ^ round;
      float* const p = a + notes.order[place] * kPitch;
      float* const q = a + notes.order[partner] * kPitch;
      float x[kHeld], y[kHeld];
      load_rows(p, x);
      load_rows(q, y);
      const float xx = group_sum(dot(x, x)), yy = group_sum(dot(y, y));
      const Rotation turn = rotation(xx, yy, true, group_sum(dot(x, y)), least);
      if (turn.needed) {
        const auto rotate = [&] {
#pragma unroll
          for (int i = 0; i < kHeld; ++i) {
            const float old = x[i];
            x[i] = fmaf(turn.c, old, turn.s * y[i]);
            y[i] = fmaf(turn.c, y[i], -turn.s * old);
          }
        };
        rotate();
        store_rows(p, x);
        store_rows(q, y);
        if constexpr (kWithV) {
          load_rows(v + (p - a), x);
          load_rows(v + (q - a), y);
          rotate();
          store_rows(v + (p - a), x);
          store_rows(v + (q - a), y);
        }
        turned = 1;
      }
      __syncthreads();
    }
    active = __syncthreads_or(turned) != 0;
  }
  return active;
}

// As `polish` in jacobi.cuh.
__device__ __forceinline__ void polish_block(float* x) {
  __syncthreads();
  float* const first = x + own_group() * kPitch;
  float* const second = first + kGroups * kPitch;
  float p[kHeld], q[kHeld], p_sum[kHeld], q_sum[kHeld];
  load_rows(first, p);
  load_rows(second, q);
#pragma unroll
  for (int i = 0; i < kHeld; ++i) p_sum[i] = q_sum[i] = 0.0f;
#pragma unroll 1
  for (int column = 0; column < kSide; ++column) {
    float y[kHeld];
    load_rows(x + column * kPitch, y);
    float py = group_sum(dot(p, y)), qy = group_sum(dot(q, y));
    if (column == own_group()) py -= 1.0f;
    if (column == own_group() + kGroups) qy -= 1.0f;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      p_sum[i] = fmaf(-py, y[i], p_sum[i]);
      q_sum[i] = fmaf(-qy, y[i], q_sum[i]);
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    p[i] = fmaf(0.5f, p_sum[i], p[i]);
    q[i] = fmaf(0.5f, q_sum[i], q[i]);
  }
  store_rows(first, p);
  store_rows(second, q);
  __syncthreads();
}

// Orthonormal columns in the places from `good` to `cols`, which hold zeros: unit vectors of the
// rows that the columns so far reach least, made orthogonal to them.
__device__ __forceinline__ void complete_block(float* x, int good, int rows, int cols,
                                               BlockNotes& notes) {
  const int row = static_cast<int>(threadIdx.x);
#pragma unroll 1
  for (int place = good; place < cols; ++place) {
    __syncthreads();
    if (row < kSide) {
      float reach = 0.0f;
#pragma unroll 4
      for (int j = 0; j < kSide; ++j) reach = fmaf(x[j * kPitch + row], x[j * kPitch + row], reach);
      notes.weights[row] = reach;
    }
    __syncthreads();
    int least = 0;
    for (int i = 1; i < rows; ++i) least = notes.weights[i] < notes.weights[least] ? i : least;
    float own = row == least ? 1.0f : 0.0f;
#pragma unroll 1
    for (int pass = 0; pass < 3; ++pass) {
      __syncthreads();
      if (row < kSide) notes.vector[row] = own;
      __syncthreads();
      if (row < kSide) {
        float along = 0.0f;
#pragma unroll 4
        for (int i = 0; i < kSide; ++i) along = fmaf(x[row * kPitch + i], notes.vector[i], along);
        notes.weights[row] = along;
      }
      __syncthreads();
      if (row < kSide) {
#pragma unroll 4
        for (int j = 0; j < kSide; ++j) own = fmaf(-x[j * kPitch + row], notes.weights[j], own);
      }
    }
    __syncthreads();
    if (row < kSide) notes.vector[row] = own;
    __syncthreads();
    float square = 0.0f;
    for (int i = 0; i < kSide; ++i) square = fmaf(notes.vector[i], notes.vector[i], square);
    if (row < kSide) x[notes.order[place] * kPitch + row] = own / sqrtf(square);
  }
  __syncthreads();
}

// As `normalize` in svd_small.cuh.
__device__ __forceinline__ bool normalize_block(float* a, BlockNotes& notes, int& scale) {
  __syncthreads();
  int bad = 0;
  float largest = 0.0f;
  for (int i = static_cast<int>(threadIdx.x); i < kSide * kPitch; i += kBlockThreads) {
    bad |= is_nonfinite(a[i]);
    largest = fmaxf(largest, fabsf(a[i]));
  }
  largest = columns_max<kWarp>(largest);
  if (threadIdx.x % kWarp == 0) notes.largest[threadIdx.x / kWarp] = largest;
  bad = __syncthreads_or(bad);
#pragma unroll
  for (int i = 0; i < kBlockThreads / kWarp; ++i) largest = fmaxf(largest, notes.largest[i]);
  scale = bad ? 0 : exponent(largest);
  const Scale down = scale_down(scale);
  for (int i = static_cast<int>(threadIdx.x); i < kSide * kPitch; i += kBlockThreads) {
    a[i] = bad ? 0.0f : down.apply(a[i]);
  }
  __syncthreads();
  return bad != 0;
}

// notes.weights becomes -1 for columns whose entry of largest magnitude, the first of equal ones,
// is negative, else 1.
__device__ __forceinline__ void signs_block(const float* x, BlockNotes& notes) {
  own_columns([&](int column) {
    float held[kHeld];
    load_rows(x + column * kPitch, held);
    float largest = 0.0f, value = 0.0f;
    int row = kSide;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      if (fabsf(held[i]) > largest) {
        largest = fabsf(held[i]), value = held[i];
        row = 4 * i + static_cast<int>(threadIdx.x % 4);
      }
    }
#pragma unroll
    for (int apart = 1; apart < 4; apart *= 2) {
      const float other = __shfl_xor_sync(kAllLanes, value, apart);
      const int at = __shfl_xor_sync(kAllLanes, row, apart);
      const bool wins = fabsf(other) > fabsf(value) || (fabsf(other) == fabsf(value) && at < row);
      value = wins ? other : value;
      row = wins ? at : row;
    }
    if (threadIdx.x % 4 == 0) notes.weights[column] = value < 0.0f ? -1.0f : 1.0f;
  });
  __syncthreads();
}

// Writes the signed columns in order to a row-major rows x cols matrix, or to its transpose.
__device__ __forceinline__ void write_block(const float* x, const BlockNotes& notes, int rows,
                                            int cols, bool transposed, bool bad, float* out) {
  const int inner = transposed ? rows : cols;
  for (int e = static_cast<int>(threadIdx.x); e < rows * cols; e += kBlockThreads) {
    const int i = transposed ? e % inner : e / inner, j = transposed ? e / inner : e % inner;
    const int column = notes.order[j];
    out[e] = bad ? not_a_number() : notes.weights[column] * x[column * kPitch + i];
  }
}

}  // namespace subkern
