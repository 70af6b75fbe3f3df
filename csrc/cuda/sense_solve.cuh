// Conjugate gradients on a row by a block: maps, iterates and transforms stay in shared memory.
#pragma once

#include "cg_state.h"
#include "sense_block.cuh"

namespace subkern {

// Statuses as in subkern.CGResult; a row that is not done has kRowRunning.
constexpr int32_t kRowRunning = -1, kRowConverged = 0, kRowExhausted = 1, kRowCurvature = 3,
                  kRowNonFinite = 4;

// A block for each row. kStaged: the maps of the row fit into shared memory too.
template <bool kStaged>
__global__ void __launch_bounds__(kSenseThreads, 3)
    sense_solve_kernel(const __grid_constant__ SenseSolveArguments a) {
  SK_DYNAMIC_SHARED(Complex, shared);
  const int w = a.S.w, coils = a.S.coils;
  SenseBlock block(a.S, shared, 4, kStaged ? coils : 0);
  const int64_t image = blockIdx.x / a.S.h, row = blockIdx.x - image * a.S.h;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * w;
  Complex *const x = block.image(0), *const r = block.image(1), *const p = block.image(2),
                 *const q = block.image(3);
  block.take_weights(image);
  const Complex* maps = maps_of(a.S, image, row);
  int64_t stride = static_cast<int64_t>(a.S.h) * w;
  if (kStaged) {
    for (int coil = block.warp(); coil < coils; coil += block.warps()) {
      for (int i = threadIdx.x % kWarp; i < w; i += kWarp) {
        block.maps()[coil * w + i] = maps[coil * stride + i];
      }
    }
    maps = block.maps();
    stride = w;
  }
  const bool begun = a.start != nullptr, shifted = a.gamma != nullptr;
  const float gamma = shifted ? a.gamma[image] : 1.0f;
  for (int i = threadIdx.x; i < w; i += static_cast<int>(blockDim.x)) {
    x[i] = begun ? a.start[at + i] : Complex{0.0f, 0.0f};
  }
  __syncthreads();
  if (begun) block.apply(x, maps, stride);
  double sum = 0.0;
  for (int i = threadIdx.x; i < w; i += static_cast<int>(blockDim.x)) {
    Complex left = a.rhs[at + i];
    if (begun) {
      const Complex Nx = block.total(i);
      if (a.prox) {
        left = {gamma * (left.re - Nx.re), gamma * (left.im - Nx.im)};
      } else {
        if (shifted) left = minus(left, x[i]);
        left = {fmaf(-gamma, Nx.re, left.re), fmaf(-gamma, Nx.im, left.im)};
      }
    }
    r[i] = p[i] = left;
    sum += real_dot(left, left);
  }
  double rho = block_sum(sum, block.buffer());
  int32_t status = !is_finite(rho) ? kRowNonFinite : rho > 0.0 ? kRowRunning : kRowConverged;
  int32_t iterations = 0;
  for (int64_t k = 0; k < a.maxiter && status == kRowRunning; ++k) {
    block.apply(p, maps, stride);
    sum = 0.0;
    for (int i = threadIdx.x; i < w; i += static_cast<int>(blockDim.x)) {
      q[i] = shifted_sum(shifted, gamma, p[i], block.total(i));
      sum += real_dot(p[i], q[i]);
    }
    const double curvature = block_sum(sum, block.buffer());
    if (!is_finite(curvature) || !(curvature > 0.0)) {
      status = is_finite(curvature) ? kRowCurvature : kRowNonFinite;
      break;
    }
    const float alpha = static_cast<float>(rho / curvature);
    sum = 0.0;
    for (int i = threadIdx.x; i < w; i += static_cast<int>(blockDim.x)) {
      r[i] = {fmaf(-alpha, q[i].re, r[i].re), fmaf(-alpha, q[i].im, r[i].im)};
      sum += real_dot(r[i], r[i]);
    }
    const double rr = block_sum(sum, block.buffer());
    if (!is_finite(rr)) {
      status = kRowNonFinite;
      break;
    }
    const float beta = static_cast<float>(rr / rho);
    rho = rr;
    ++iterations;
    for (int i = threadIdx.x; i < w; i += static_cast<int>(blockDim.x)) {
      x[i] = {fmaf(alpha, p[i].re, x[i].re), fmaf(alpha, p[i].im, x[i].im)};
      p[i] = {fmaf(beta, p[i].re, r[i].re), fmaf(beta, p[i].im, r[i].im)};
    }
    if (!(rho > 0.0)) status = kRowConverged;
    __syncthreads();
  }
  for (int i = threadIdx.x; i < w; i += static_cast<int>(blockDim.x)) a.x[at + i] = x[i];
  if (threadIdx.x != 0) return;
  a.rr[blockIdx.x] = rho;
  a.iterations[blockIdx.x] = iterations;
  a.status[blockIdx.x] = status == kRowRunning ? kRowExhausted : status;
}

}  // namespace subkern
