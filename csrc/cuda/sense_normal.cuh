// H v and its inner products: rows of a line mask alone, or rows, columns and rows again.
#pragma once

#include "sense_block.cuh"

namespace subkern {

// A block for each row: out = H v under a line mask.
__global__ void __launch_bounds__(kSenseThreads)
    sense_line_kernel(const __grid_constant__ SenseLineArguments a) {
  SK_DYNAMIC_SHARED(Complex, shared);
  SenseBlock block(a.S, shared, 1, 0);
  const int64_t image = blockIdx.x / a.S.h, row = blockIdx.x - image * a.S.h;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * a.S.w;
  Complex* const p = block.image(0);
  block.take_weights(image);
  for (int i = threadIdx.x; i < a.S.w; i += static_cast<int>(blockDim.x)) p[i] = a.v[at + i];
  __syncthreads();
  block.apply(p, maps_of(a.S, image, row), static_cast<int64_t>(a.S.h) * a.S.w);
  const bool shifted = a.gamma != nullptr;
  const float gamma = shifted ? a.gamma[image] : 1.0f;
  double dot = 0.0;
  for (int i = threadIdx.x; i < a.S.w; i += static_cast<int>(blockDim.x)) {
    const Complex q = shifted_sum(shifted, gamma, p[i], block.total(i));
    a.out[at + i] = q;
    dot += real_dot(p[i], q);
  }
  dot = block_sum(dot, block.buffer());
  if (threadIdx.x == 0) a.dot[blockIdx.x] = dot;
}

// A block for each row of each image: its coil images, transformed along the row.
__global__ void __launch_bounds__(kSenseThreads)
    sense_rows_kernel(const __grid_constant__ SensePlaneArguments a) {
  SK_DYNAMIC_SHARED(Complex, shared);
  SenseBlock block(a.S, shared, 1, 0);
  const int64_t nth = blockIdx.x / a.S.h, row = blockIdx.x - nth * a.S.h;
  const int64_t image = a.image + nth, plane = static_cast<int64_t>(a.S.h) * a.S.w;
  Complex* const p = block.image(0);
  const Complex* const v = a.v + (image * a.S.h + row) * a.S.w;
  for (int i = threadIdx.x; i < a.S.w; i += static_cast<int>(blockDim.x)) p[i] = v[i];
  __syncthreads();
  const Complex* const maps = maps_of(a.S, image, row);
  for (int coil = block.warp(); coil < a.count; coil += block.warps()) {
    Complex* const to = a.hybrid + (nth * a.count + coil) * plane + row * a.S.w;
    transform(block.fft(), CoilImage{p, maps + (a.begin + coil) * plane}, block.points(),
              RowOut{to});
  }
}

// A block for kSenseColumns columns of a coil: transformed, weighted, transformed back in place.
__global__ void __launch_bounds__(kSenseThreads)
    sense_columns_kernel(const __grid_constant__ SensePlaneArguments a) {
  SK_DYNAMIC_SHARED(Complex, shared);
  const int h = a.S.h, w = a.S.w, room = sense_points(h);
  const int floats = a.S.columns.floats;
  for (int i = threadIdx.x; i < floats; i += static_cast<int>(blockDim.x)) {
    reinterpret_cast<float*>(shared)[i] = a.S.column_tables[i];
  }
  Complex* const columns = shared + floats / 2;
  const int64_t groups = (w + kSenseColumns - 1) / kSenseColumns;
  const int64_t plane = blockIdx.x / groups;
  const int first = static_cast<int>(blockIdx.x - plane * groups) * kSenseColumns;
  const int count = w - first < kSenseColumns ? w - first : kSenseColumns;
  Complex* const hybrid = a.hybrid + plane * h * w + first;
  for (int i = threadIdx.x; i < h * kSenseColumns; i += static_cast<int>(blockDim.x)) {
    const int y = i / kSenseColumns, x = i % kSenseColumns;
    if (x < count) Points{columns + x * room}.store(y, hybrid[static_cast<int64_t>(y) * w + x]);
  }
  __syncthreads();
  const int64_t image = a.image + plane / a.count;
  const int own = static_cast<int>(threadIdx.x) / kWarp;
  if (own < count) {
    const float* const weights = a.S.weights + (image % a.S.weight_sets * w + first + own) * h;
    const Points points{columns + own * room};
    const Fft fft{a.S.columns, shared, static_cast<int>(threadIdx.x) % kWarp};
    filter(fft, points, weights, points, points);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < h * kSenseColumns; i += static_cast<int>(blockDim.x)) {
    const int y = i / kSenseColumns, x = i % kSenseColumns;
    if (x < count) hybrid[static_cast<int64_t>(y) * w + x] = Points{columns + x * room}.load(y);
  }
}

// A block for each row of each image: transformed back, times conj(S), summed over coils; after the
// last coils, out = H v.
__global__ void __launch_bounds__(kSenseThreads)
    sense_gather_kernel(const __grid_constant__ SensePlaneArguments a) {
  SK_DYNAMIC_SHARED(Complex, shared);
  SenseBlock block(a.S, shared, 0, 0);
  const int64_t nth = blockIdx.x / a.S.h, row = blockIdx.x - nth * a.S.h;
  const int64_t image = a.image + nth, plane = static_cast<int64_t>(a.S.h) * a.S.w;
  const int64_t at = (image * a.S.h + row) * a.S.w;
  const Complex* const maps = maps_of(a.S, image, row);
  block.clear_sum();
  __syncthreads();
  for (int coil = block.warp(); coil < a.count; coil += block.warps()) {
    const Complex* const from = a.hybrid + (nth * a.count + coil) * plane + row * a.S.w;
    transform_back(block.fft(), Row{from}, block.points(),
                   CoilSum{maps + (a.begin + coil) * plane, block.sum()});
  }
  __syncthreads();
  const bool shifted = a.gamma != nullptr, last = a.begin + a.count == a.S.coils;
  const float gamma = shifted ? a.gamma[image] : 1.0f;
  double dot = 0.0;
  for (int i = threadIdx.x; i < a.S.w; i += static_cast<int>(blockDim.x)) {
    Complex q = block.total(i);
    if (a.begin > 0) q = plus(a.out[at + i], q);
    if (last) {
      const Complex v = a.v[at + i];
      q = shifted_sum(shifted, gamma, v, q);
      dot += real_dot(v, q);
    }
    a.out[at + i] = q;
  }
  if (!last) return;
  dot = block_sum(dot, block.buffer());
  if (threadIdx.x == 0) a.dot[image * a.S.h + row] = dot;
}

}  // namespace subkern
