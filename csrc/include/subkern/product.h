// The two products of a low-rank step, with their neighbours fused.
#pragma once

#include "subkern/types.h"

namespace subkern {

// A gradient or weight matrix of a step: rows x cols, column_axis as in LowrankAdamChunk. The basis
// P has `rank` columns and as many rows as a canonical column has elements.
struct LowrankShape {
  int64_t rows;
  int64_t cols;
  int64_t rank;
  int column_axis;  // 1: canonical columns are columns (left side), 0: rows (right side)

  int64_t columns() const { return column_axis == 1 ? cols : rows; }
  int64_t length() const { return column_axis == 1 ? rows : cols; }
};

// Floats of scratch that either product needs on so many threads.
int64_t lowrank_product_workspace(const LowrankShape& shape, int threads);

// R = P^T X (rank x cols) or X P (rows x rank), contiguous; norms[j] = |X_j|^2 unless it is null.
// No result depends on `threads`: the order of every sum follows from the shape.
void sk_lowrank_project(const LowrankShape& shape, const Panel& X, const Panel& P, float* R,
                        float* norms, float* workspace, int threads);

// W = decay W + P D (left) or D P^T (right) + coef_j X_j, rounded once; X and coef may be null.
void sk_lowrank_update(const LowrankShape& shape, const Panel& W, const Panel& P, const float* D,
                       const Panel& X, const float* coef, double decay, float* workspace,
                       int threads);

}  // namespace subkern
