// Fira's share of lowrank_adam_moments: tiles of R and X, their sums, the coefficients from them.
// Included by dispatch.cpp only.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "work.h"

namespace subkern {

// The sums of one parameter in a chunk's scratch. A sum over rows comes in parts.
struct FiraLayout {
  int64_t r_columns, r_parts, x_columns, x_parts;

  FiraLayout(int64_t rows, int64_t cols, int column_axis, int64_t x_rows, int64_t x_cols)
      : r_columns(column_axis == 1 ? cols : rows),
        r_parts(column_axis == 1 ? blocks_of(rows, kSumRows) : 1),
        x_columns(column_axis == 1 ? x_cols : x_rows),
        x_parts(blocks_of(column_axis == 1 ? x_rows : x_cols, kNormRows)) {}
  int64_t floats() const { return 2 * r_parts * r_columns + x_parts * x_columns; }
};

class FiraSums : public FiraLayout {
 public:
  FiraSums(const LowrankAdamChunk& c, int64_t x_parts_in_use)
      : FiraLayout(c.rows, c.cols, c.column_axis, c.x_rows, c.x_cols), c_(c), floats_(floats()) {
    x_parts = x_parts_in_use;
  }

  float* nn(int64_t p, int64_t part) const { return c_.workspace + p * floats_ + part * r_columns; }
  float* rr(int64_t p, int64_t part) const { return nn(p, r_parts + part); }
  float* xx(int64_t p, int64_t part) const { return nn(p, 2 * r_parts) + part * x_columns; }

  // phi, residual energy, limiter; writes coef.
  void finish(int64_t p, double eta) const {
    const std::vector<double> n = add_parts(nn(p, 0), r_parts, r_columns);
    const std::vector<double> r = add_parts(rr(p, 0), r_parts, r_columns);
    const std::vector<double> x = add_parts(xx(p, 0), x_parts, x_columns);
    std::vector<double> phis(x_columns);
    double energy = 0.0;  // s_t^2
    if (c_.matrix_norm) {
      const double r_total = std::accumulate(r.begin(), r.end(), 0.0);
      const double whole = phi(std::accumulate(n.begin(), n.end(), 0.0), r_total);
      energy = whole * whole * residual(std::accumulate(x.begin(), x.end(), 0.0), r_total);
      std::fill(phis.begin(), phis.end(), whole);
    } else {
      for (int64_t j = 0; j < x_columns; ++j) {
        phis[j] = phi(n[j], r[j]);
        energy += phis[j] * phis[j] * residual(x[j], r[j]);
      }
    }
    const double factor = -eta * limit(c_.limiter[p], std::sqrt(energy));
    for (int64_t j = 0; j < x_columns; ++j) c_.coef[p][j] = static_cast<float>(factor * phis[j]);
  }

 private:
  static std::vector<double> add_parts(const float* parts, int64_t count, int64_t columns) {
    std::vector<double> sums(columns);
    for (int64_t part = 0; part < count; ++part) {
      for (int64_t j = 0; j < columns; ++j) sums[j] += parts[part * columns + j];
    }
    return sums;
  }

  double phi(double nn, double rr) const {
    return rr == 0.0 ? 0.0 : std::sqrt(nn) / (std::sqrt(rr) + c_.norm_eps);
  }

  // |X_j - a P R_j|^2 for an orthonormal basis; round-off counts as zero, NaN passes.
  double residual(double xx, double rr) const {
    const double a = c_.residual_scale, rho2 = xx - 2.0 * a * rr + a * a * rr;
    return rho2 < 1e-6 * xx || rho2 < 0.0 ? 0.0 : rho2;
  }

  // The factor on the residual; remembers the norm that was let through.
  double limit(float* previous, double norm) const {
    if (*previous <= 0.0f) {
      *previous = static_cast<float>(norm);
      return 1.0;
    }
    const double growth = norm / (*previous + c_.norm_eps);
    const double excess = (growth < c_.gamma ? c_.gamma : growth) / c_.gamma;
    *previous = static_cast<float>(norm / excess);
    return 1.0 / excess;
  }

  const LowrankAdamChunk& c_;
  const int64_t floats_;
};

// The tiles of R and of X, and what is done to them.
class FiraTiles {
 public:
  FiraTiles(const Kernels& kernels, const LowrankAdamChunk& c, const AdamConstants& adam)
      : kernels_(kernels),
        c_(c),
        adam_(adam),
        by_column_(c.column_axis == 1),
        x_len_(by_column_ ? c.x_rows : c.x_cols),
        x_stride_(by_column_ ? c.x_row_stride : c.x_col_stride),
        x_column_stride_(by_column_ ? c.x_col_stride : c.x_row_stride),
        x_by_rows_(x_stride_ != 1 && x_column_stride_ == 1),
        sums_(c, x_by_rows_ ? blocks_of(x_len_, kNormRows) : 1),
        r_block_(by_column_ ? kTileCols : rows_per_block(c.cols)),
        x_block_(x_by_rows_ ? kTileCols : rows_per_block(x_len_)) {}

  const FiraSums& sums() const { return sums_; }
  int64_t r_tiles() const { return sums_.r_parts * blocks_of(sums_.r_columns, r_block_); }
  int64_t x_tiles() const { return sums_.x_parts * blocks_of(sums_.x_columns, x_block_); }

  void moments(int64_t p, int64_t tile) const {
    const auto [part, from] = place(tile, sums_.r_columns, r_block_);
    (by_column_ ? kernels_.sk_moments_cols : kernels_.sk_moments_rows)(
        r_tile(p, part, from), adam_, sums_.nn(p, part) + from, sums_.rr(p, part) + from);
  }

  void direction(int64_t p, int64_t tile, double eta) const {
    const auto [part, from] = place(tile, sums_.r_columns, r_block_);
    const bool per_column = by_column_ && !c_.matrix_norm;
    const float* coef = c_.coef[p] + (c_.matrix_norm ? 0 : from);
    kernels_.sk_fira_direction(r_tile(p, part, from), adam_.eps,
                               static_cast<float>(-eta * c_.scale),
                               static_cast<float>(-c_.residual_scale), per_column ? coef : nullptr,
                               coef, c_.matrix_norm ? 0 : 1);
  }

  void norms(int64_t p, int64_t tile) const {
    const auto [part, from] = place(tile, sums_.x_columns, x_block_);
    const int64_t first = x_by_rows_ ? part * kNormRows : 0;
    const ColumnsBlock block{at(c_.X[p], c_.x_dtype, first * x_stride_ + from * x_column_stride_),
                             c_.x_dtype,
                             x_by_rows_ ? std::min(kNormRows, x_len_ - first) : x_len_,
                             x_stride_,
                             std::min(x_block_, sums_.x_columns - from),
                             x_column_stride_};
    kernels_.sk_column_norms(block, sums_.xx(p, part) + from);
  }

 private:
  // (part, first canonical column); tiles of one part are neighbours in memory.
  static std::pair<int64_t, int64_t> place(int64_t tile, int64_t columns, int64_t block) {
    const int64_t across = blocks_of(columns, block);
    return {tile / across, tile % across * block};
  }

  MomentsBlock r_tile(int64_t p, int64_t part, int64_t from) const {
    const int64_t columns = std::min(r_block_, sums_.r_columns - from);
    const int64_t first = part * kSumRows;
    const int64_t offset = by_column_ ? first * c_.cols + from : from * c_.cols;
    return {at(c_.R[p], c_.r_dtype, offset),
            c_.r_dtype,
            c_.exp_avg[p] + offset,
            c_.exp_avg_sq[p] + offset,
            by_column_ ? std::min(kSumRows, c_.rows - first) : columns,
            by_column_ ? columns : c_.cols,
            c_.cols};
  }

  const Kernels& kernels_;
  const LowrankAdamChunk& c_;
  const AdamConstants adam_;
  const bool by_column_;
  const int64_t x_len_, x_stride_, x_column_stride_;
  const bool x_by_rows_;  // X's rows cross the canonical columns, as R's do on the left side
  const FiraSums sums_;
  const int64_t r_block_, x_block_;
};

}  // namespace subkern
