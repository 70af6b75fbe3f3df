// Columns of one matrix made one by one, where CholeskyQR2 met dependent columns. Included by
// orthonormalize.cpp.
#pragma once

#include <cmath>

#include "orthonormalize_panels.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr double kKept = 0x1p-22;  // what is left of a column is a direction above this share of it

// One matrix: its panels, and a column h of as many rows in double.
class Repair {
 public:
  // h and leverage: panels.count * panels.rows doubles each; coefficients: 2 k.
  Repair(const Panels& panels, float* W, double* h, double* leverage, double* coefficients)
      : panels_(panels), W_(W), h_(h), leverage_(leverage), c_(coefficients) {}

  // Column j, beside the finished ones before it: column(i) is entry i of Y's, R(i) a reference to
  // entry (i, j) of R.
  template <class Column, class Entry>
  void make(int64_t j, const Column& column, const Entry& R) {
    double* const total = c_ + panels_.k;
    const int64_t padded = panels_.count * panels_.rows;
    for (int64_t i = 0; i < padded; ++i) h_[i] = i < panels_.m ? column(i) : 0.0;
    const double before = norm();
    for (int64_t i = 0; i < j; ++i) total[i] = 0.0;
    for (int pass = 0; pass < 2; ++pass) {
      project(j);
      for (int64_t i = 0; i < j; ++i) total[i] += c_[i];
    }
    double left = norm();
    const bool kept = left > kKept * before;
    for (int64_t i = 0; i < j; ++i) R(i) = total[i];
    R(j) = kept ? left : 0.0;
    if (!kept) {
      const int64_t row = least_leverage(j);
      for (int64_t i = 0; i < padded; ++i) h_[i] = i == row ? 1.0 : 0.0;
      for (int pass = 0; pass < 3; ++pass) project(j);
      left = norm();
    }
    scale(1.0 / left);
    project(j);
    scale(1.0 / norm());
    for (int64_t i = 0; i < padded; ++i) {
      column_of(i / panels_.rows, j)[i % panels_.rows] = static_cast<float>(h_[i]);
    }
  }

 private:
  float* column_of(int64_t panel, int64_t j) const {
    return W_ + (panel * panels_.padded_k() + j) * kPitch;
  }

  double norm() const {
    Dvec total = dzero();
    for (int64_t i = 0; i < panels_.count * panels_.rows; i += kDoubles) {
      const Dvec h = dload(h_ + i);
      total = fma(h, h, total);
    }
    return std::sqrt(sum(total));
  }

  void scale(double factor) {
    for (int64_t i = 0; i < panels_.count * panels_.rows; ++i) h_[i] *= factor;
  }

  // c = Q^T h, h -= Q c over the first j columns.
  void project(int64_t j) {
    for (int64_t i = 0; i < j; ++i) {
      Dvec total = dzero();
      for (int64_t panel = 0; panel < panels_.count; ++panel) {
        const float* q = column_of(panel, i);
        const double* h = h_ + panel * panels_.rows;
        for (int64_t r = 0; r < panels_.rows; r += kWidth) {
          const Vec a = load(q + r, All{});
          total = fma(low_half(a), dload(h + r), total);
          total = fma(high_half(a), dload(h + r + kDoubles), total);
        }
      }
      c_[i] = sum(total);
    }
    for (int64_t i = 0; i < j; ++i) {
      const Dvec c = dsplat(c_[i]);
      for (int64_t panel = 0; panel < panels_.count; ++panel) {
        const float* q = column_of(panel, i);
        double* h = h_ + panel * panels_.rows;
        for (int64_t r = 0; r < panels_.rows; r += kWidth) {
          const Vec a = load(q + r, All{});
          dstore(h + r, fnma(c, low_half(a), dload(h + r)));
          dstore(h + r + kDoubles, fnma(c, high_half(a), dload(h + r + kDoubles)));
        }
      }
    }
  }

  // The row of the first j columns with the smallest norm; the first of equals.
  int64_t least_leverage(int64_t j) {
    const int64_t padded = panels_.count * panels_.rows;
    for (int64_t i = 0; i < padded; ++i) leverage_[i] = 0.0;
    for (int64_t c = 0; c < j; ++c) {
      for (int64_t panel = 0; panel < panels_.count; ++panel) {
        const float* q = column_of(panel, c);
        double* to = leverage_ + panel * panels_.rows;
        for (int64_t r = 0; r < panels_.rows; ++r) to[r] += static_cast<double>(q[r]) * q[r];
      }
    }
    int64_t best = 0;
    for (int64_t i = 1; i < panels_.m; ++i) {
      if (leverage_[i] < leverage_[best]) best = i;
    }
    return best;
  }

  Panels panels_;
  float* W_;
  double *h_, *leverage_, *c_;
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
