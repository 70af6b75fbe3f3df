// Fira's share of lowrank_adam_moments: tiles of R, their sums, the coefficients from them.
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
  int64_t columns, parts;  // canonical columns of R

  FiraLayout(int64_t rows, int64_t cols, int column_axis)
      : columns(column_axis == 1 ? cols : rows),
        parts(column_axis == 1 ? blocks_of(rows, kSumRows) : 1) {}
  int64_t floats() const { return 2 * parts * columns; }
};

class FiraSums : public FiraLayout {
 public:
  explicit FiraSums(const LowrankAdamChunk& c) : FiraLayout(c.rows, c.cols, c.column_axis), c_(c) {}

  float* nn(int64_t p, int64_t part) const { return c_.workspace + p * floats() + part * columns; }
  float* rr(int64_t p, int64_t part) const { return nn(p, parts + part); }

  // phi, residual energy, limiter; writes coef.
  void finish(int64_t p, double eta) const {
    const std::vector<double> n = add_parts(nn(p, 0)), r = add_parts(rr(p, 0));
    const float* x = c_.norms[p];
    std::vector<double> phis(c_.columns);
    double energy = 0.0;  // s_t^2
    if (c_.matrix_norm) {
      const double r_total = std::accumulate(r.begin(), r.end(), 0.0);
      const double whole = phi(std::accumulate(n.begin(), n.end(), 0.0), r_total);
      energy = whole * whole * residual(std::accumulate(x, x + c_.columns, 0.0), r_total);
      std::fill(phis.begin(), phis.end(), whole);
    } else {
      for (int64_t j = 0; j < c_.columns; ++j) {
        phis[j] = phi(n[j], r[j]);
        energy += phis[j] * phis[j] * residual(x[j], r[j]);
      }
    }
    const double factor = -eta * limit(c_.limiter[p], std::sqrt(energy));
    for (int64_t j = 0; j < c_.columns; ++j) c_.coef[p][j] = static_cast<float>(factor * phis[j]);
  }

 private:
  std::vector<double> add_parts(const float* sums) const {
    std::vector<double> totals(columns);
    for (int64_t part = 0; part < parts; ++part) {
      for (int64_t j = 0; j < columns; ++j) totals[j] += sums[part * columns + j];
    }
    return totals;
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
};

// The tiles of R, and what is done to them.
class FiraTiles {
 public:
  FiraTiles(const Kernels& kernels, const LowrankAdamChunk& c, const AdamConstants& adam)
      : kernels_(kernels),
        c_(c),
        adam_(adam),
        by_column_(c.column_axis == 1),
        sums_(c),
        block_(by_column_ ? kTileCols : rows_per_block(c.cols)),
        across_(blocks_of(sums_.columns, block_)) {}

  const FiraSums& sums() const { return sums_; }
  int64_t count() const { return sums_.parts * across_; }

  void moments(int64_t p, int64_t tile) const {
    const auto [part, from] = place(tile);
    (by_column_ ? kernels_.sk_moments_cols : kernels_.sk_moments_rows)(
        r_tile(p, part, from), adam_, sums_.nn(p, part) + from, sums_.rr(p, part) + from);
  }

  void direction(int64_t p, int64_t tile, double eta) const {
    const auto [part, from] = place(tile);
    const bool per_column = by_column_ && !c_.matrix_norm;
    const float* coef = c_.coef[p] + (c_.matrix_norm ? 0 : from);
    kernels_.sk_fira_direction(r_tile(p, part, from), adam_.eps,
                               static_cast<float>(-eta * c_.scale),
                               static_cast<float>(-c_.residual_scale), per_column ? coef : nullptr,
                               coef, c_.matrix_norm ? 0 : 1);
  }

 private:
  // (part, first canonical column); tiles of one part are neighbours in memory.
  std::pair<int64_t, int64_t> place(int64_t tile) const {
    return {tile / across_, tile % across_ * block_};
  }

  MomentsBlock r_tile(int64_t p, int64_t part, int64_t from) const {
    const int64_t columns = std::min(block_, sums_.columns - from);
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
  const FiraSums sums_;
  const int64_t block_, across_;
};

}  // namespace subkern
