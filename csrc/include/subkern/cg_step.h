// A start and steps of conjugate gradients on every group of a batch. A group's row of
// `state` has the columns of subkern/reference/cg_step.py; its vectors are left alone once it is
// done.
#pragma once

#include "subkern/types.h"

namespace subkern {

constexpr int kCgColumns = 10;  // of the state

// The state before the first step.
struct CgStart {
  const float* r;  // groups x n
  const float* b;  // groups x n, or nullptr: r
  double rtol, atol;
  double* state;  // groups x kCgColumns
  int64_t groups, n;
  double* sums;  // cg_start_workspace() bytes
};

// r <- r - alpha q; then the state after the step.
struct CgResidual {
  float* r;                 // groups x n
  const float* q;           // groups x n
  const double* curvature;  // groups
  double* state;            // groups x kCgColumns
  int64_t groups, n;
  double* sums;  // cg_step_workspace() bytes
};

// x <- x + alpha p, then p <- z + beta p, where alpha is not 0.
struct CgDirection {
  float *x, *p;         // groups x n
  const float* z;       // groups x n
  const double* state;  // groups x kCgColumns
  int64_t groups, n;
};

// Both, and <p, q> before them unless `curvature` holds it.
struct CgStep {
  float *x, *r, *p;         // groups x n
  const float* q;           // groups x n
  const double* curvature;  // groups, or nullptr
  double* state;            // groups x kCgColumns
  int64_t groups, n;
  double* sums;  // cg_step_workspace() bytes, and 8 for each group
};

int64_t cg_start_workspace(int64_t groups, int64_t n);
void sk_cg_start(const CgStart& call, int threads);
int64_t cg_step_workspace(int64_t groups, int64_t n);
void sk_cg_step_residual(const CgResidual& call, int threads);
void sk_cg_step_direction(const CgDirection& call, int threads);
void sk_cg_step(const CgStep& call, int threads);

}  // namespace subkern
