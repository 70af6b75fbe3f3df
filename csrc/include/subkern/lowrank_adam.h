// The two stages of a low-rank Adam step that surround its second matrix product.
#pragma once

#include "subkern/types.h"

namespace subkern {

enum Rule : int { kGalore = 0, kFira = 1 };

// A chunk of `count` parameters of equal shape. R, M, V are rows x cols, contiguous.
// A canonical column is a column of R and X if column_axis == 1, a row of both if it is 0.
struct LowrankAdamChunk {
  int64_t count;
  void* const* R;  // in: projected gradient, out: the direction D that the basis multiplies
  float* const* exp_avg;
  float* const* exp_avg_sq;
  float* const* step;
  float* const* skipped;
  int64_t rows;
  int64_t cols;
  int column_axis;
  Dtype r_dtype;
  double scale;
  Rule rule;
  // Only Fira reads what follows.
  int64_t columns;            // canonical columns of the gradient X
  const float* const* norms;  // |X_j|^2, one per canonical column
  float* const* limiter;      // previous norm, one float each; <= 0 means unset
  float* const* coef;         // out: factor of X in W's update, one per canonical column
  double gamma;
  double norm_eps;
  double residual_scale;
  bool matrix_norm;    // one phi for the whole matrix
  bool skip_residual;  // coef = 0 and the limiter stays
  float* workspace;    // lowrank_adam_workspace() floats
};

// Floats of scratch that sk_lowrank_adam_moments needs.
int64_t lowrank_adam_workspace(int64_t count, int64_t rows, int64_t cols, int column_axis,
                               Rule rule);

// Moments, norms, limiter, and the direction D in place of R:
//   galore: D = -eta update_scale scale N
//   fira:   D = -eta update_scale (scale N - s a phi_j R),  coef_j = -eta update_scale s phi_j
void sk_lowrank_adam_moments(const LowrankAdamChunk& chunk, const AdamOptions& options,
                             unsigned char* flags);

// W = decay W + T + coef X, rounded once to W's dtype. coef_axis 1: one per column, 0: per row.
void sk_lowrank_adam_apply(const Panel& W, const Panel& T, const Panel& X, const float* coef,
                           int coef_axis, int64_t rows, int64_t cols, double decay, int threads);

}  // namespace subkern
