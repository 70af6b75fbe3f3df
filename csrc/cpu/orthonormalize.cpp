// Mixed CholeskyQR2 of a group of matrices: rows are lanes in the tall products, matrices are lanes
// in the small factorizations. Nothing that one matrix gives depends on the others.
#include <cmath>

#include "kernels.h"
// After it: what the vectors of a variant need is declared there.
#include "orthonormalize_factor.h"
#include "orthonormalize_panels.h"
#include "orthonormalize_repair.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr double kPivot = 0x1p-44;        // (4 u32)^2
constexpr double kThirdPass = 0.05;       // departure from the identity that asks for another pass
constexpr int64_t kGroupBytes = 1 << 19;  // panels of a group stay in the second-level cache
constexpr int32_t kNonFinite = 1, kDeficient = 2;

int64_t group_of(const Panels& panels) {
  const int64_t bytes = panels.floats() * 4;
  return bytes * kDoubles <= kGroupBytes ? kDoubles : bytes < kGroupBytes ? kGroupBytes / bytes : 1;
}

// 2^-e, at most 2^127, for a column whose squared norm is in (2^(2 e - 2), 2^(2 e)].
double scale_for(double squared_norm) {
  uint64_t bits;
  __builtin_memcpy(&bits, &squared_norm, sizeof(bits));
  const int64_t exponent = static_cast<int64_t>(bits >> 52 & 0x7ff) - 1023;
  int64_t e = (exponent + 2) >> 1;
  e = e < -127 ? -127 : e > 126 ? 126 : e;
  bits = static_cast<uint64_t>(1023 - e) << 52;
  double scale;
  __builtin_memcpy(&scale, &bits, sizeof(scale));
  return scale;
}

class Group {
 public:
  // Carves the scratch up.
  Group(char* scratch, const Panels& panels) : panels_(panels), begin_(scratch), at_(scratch) {
    const int64_t k = panels.k, padded = panels.padded_k(), tall = panels.count * panels.rows;
    W_ = take<float>(group_of(panels) * panels.floats());
    D_ = take<double>(padded * panels.rows);
    partial_ = take<double>(panels.count > 1 ? padded * padded * kDoubles : 0);
    R_ = take<double>(k * k * kDoubles);
    second_ = take<double>(k * k * kDoubles);
    third_ = take<double>(k * k * kDoubles);
    inverse_ = take<double>(k * kDoubles);
    second_inverse_ = take<double>(k * kDoubles);
    third_inverse_ = take<double>(k * kDoubles);
    scale_ = take<double>(k * kDoubles);
    r32_ = take<float>(k * k);
    inverse32_ = take<float>(k);
    scale32_ = take<float>(k);
    h_ = take<double>(tall);
    leverage_ = take<double>(tall);
    coefficients_ = take<double>(2 * k);
  }

  int64_t bytes() const { return at_ - begin_; }

  // Columns past k and halves below the diagonal stay zero; lanes without a matrix hold numbers.
  void clear() {
    const int64_t k = panels_.k;
    for (int64_t i = k * panels_.rows; i < panels_.padded_k() * panels_.rows; ++i) D_[i] = 0.0;
    for (int64_t i = 0; i < k * k * kDoubles; ++i) R_[i] = second_[i] = third_[i] = 0.0;
  }

  template <class T>
  void run(const OrthonormalizeBlock& block, const T* Y, int64_t from, int64_t count) {
    const int64_t k = panels_.k;
    for (int64_t l = 0; l < count; ++l) read(block, Y + l * block.matrix_stride, l);
    find_scales(count);
    factor(R_, k, threshold(), inverse_);
    for (int64_t l = 0; l < count; ++l) {
      set_divisor(R_, inverse_, scale_, l);
      divide_and_sum(l, second_);
    }
    double off[kDoubles];
    departure(second_, k, inverse_, off);
    factor(second_, k, threshold(), second_inverse_);
    multiply(second_, R_, k);
    third_pass(count, off);
    for (int64_t l = 0; l < count; ++l) {
      const int64_t i = from + l;
      float* const Q = block.Q + i * panels_.m * k;
      float* const R = block.R + i * k * k;
      if (!finite_[l]) {
        for (int64_t e = 0; e < panels_.m * k; ++e) Q[e] = NAN;
        for (int64_t e = 0; e < k * k; ++e) R[e] = NAN;
        block.info[i] |= kNonFinite;
        continue;
      }
      const bool more = off[l] > kThirdPass;
      const double* const inverse = more ? third_inverse_ : second_inverse_;
      set_divisor(more ? third_ : second_, inverse, nullptr, l);
      const int64_t good = leading_good(inverse, l);
      finish(l, Q, good == k);
      if (good < k) {
        repair(block, Y + l * block.matrix_stride, good, l);
        for (int64_t p = 0; p < panels_.count; ++p) write(l, p, Q);
        block.info[i] |= kDeficient;
      }
      for (int64_t e = 0; e < k * k; ++e) {
        R[e] = e % k >= e / k ? static_cast<float>(R_[e * kDoubles + l]) : 0.0f;
      }
    }
  }

 private:
  template <class T>
  T* take(int64_t n) {
    T* const mine = reinterpret_cast<T*>(at_);
    at_ += round_up(n * static_cast<int64_t>(sizeof(T)), 64);
    return mine;
  }

  double threshold() const {
    const double noise = 8.0 * std::sqrt(static_cast<double>(panels_.m)) * 0x1p-53;
    return noise > kPivot ? noise : kPivot;
  }

  float* panel(int64_t lane, int64_t p) const {
    return W_ + lane * panels_.floats() + p * panels_.k * panels_.rows;
  }
  int64_t valid(int64_t p) const { return smaller(panels_.rows, panels_.m - p * panels_.rows); }
  GramSums sums(double* G, int64_t lane, int64_t p) const {
    return {partial_, G + lane, p == 0, p == panels_.count - 1};
  }

  template <class T>
  void read(const OrthonormalizeBlock& block, const T* Y, int64_t lane) {
    for (int64_t p = 0; p < panels_.count; ++p) {
      read_panel(Y + p * panels_.rows * block.row_stride, block.row_stride, block.col_stride,
                 valid(p), panels_.rows, panels_.k, panel(lane, p), D_);
      gram_panel(D_, panels_, sums(R_, lane, p));
    }
  }

  // Squares of finite floats do not overflow in double: a sum that is not finite tells an entry is.
  void find_scales(int64_t count) {
    for (int64_t l = 0; l < count; ++l) {
      finite_[l] = true;
      for (int64_t j = 0; j < panels_.k; ++j) {
        const double squared = R_[(j * panels_.k + j) * kDoubles + l];
        finite_[l] = finite_[l] && squared <= 1e300;
        scale_[j * kDoubles + l] = scale_for(squared);
      }
    }
  }

  void set_divisor(const double* R, const double* inverse, const double* scale, int64_t lane) {
    const int64_t k = panels_.k;
    for (int64_t j = 0; j < k; ++j) {
      const double factor = scale != nullptr ? scale[j * kDoubles + lane] : 1.0;
      scale32_[j] = static_cast<float>(factor);
      inverse32_[j] = static_cast<float>(inverse[j * kDoubles + lane] / factor);
      for (int64_t i = 0; i < j; ++i) {
        r32_[i * k + j] = static_cast<float>(R[(i * k + j) * kDoubles + lane] * factor);
      }
    }
  }
  Divisor divisor() const { return {r32_, inverse32_, scale32_}; }

  void divide_and_sum(int64_t lane, double* G) {
    for (int64_t p = 0; p < panels_.count; ++p) {
      divide_panel<true>(panel(lane, p), D_, panels_.rows, panels_.k, divisor());
      gram_panel(D_, panels_, sums(G, lane, p));
    }
  }

  // Lanes that need no third pass get the identity, which changes no bit of their R.
  void third_pass(int64_t count, const double* off) {
    const int64_t k = panels_.k;
    bool any = false;
    for (int64_t l = 0; l < count; ++l) any = any || (finite_[l] && off[l] > kThirdPass);
    if (!any) return;
    for (int64_t l = 0; l < count; ++l) {
      if (off[l] > kThirdPass) {
        set_divisor(second_, second_inverse_, nullptr, l);
        divide_and_sum(l, third_);
        continue;
      }
      for (int64_t i = 0; i < k; ++i) {
        for (int64_t j = i; j < k; ++j) third_[(i * k + j) * kDoubles + l] = 0.0;
        const bool good = second_inverse_[i * kDoubles + l] > 0.0;
        third_[(i * k + i) * kDoubles + l] = good ? 1.0 : 0.0;
      }
    }
    factor(third_, k, threshold(), third_inverse_);
    multiply(third_, R_, k);
  }

  int64_t leading_good(const double* inverse, int64_t lane) const {
    int64_t j = 0;
    while (j < panels_.k && inverse[j * kDoubles + lane] > 0.0) ++j;
    return j;
  }

  void write(int64_t lane, int64_t p, float* Q) const {
    write_panel(panel(lane, p), valid(p), panels_.rows, panels_.k,
                Q + p * panels_.rows * panels_.k);
  }

  void finish(int64_t lane, float* Q, bool written) {
    for (int64_t p = 0; p < panels_.count; ++p) {
      divide_panel<false>(panel(lane, p), nullptr, panels_.rows, panels_.k, divisor());
      if (written) write(lane, p, Q);
    }
  }

  template <class T>
  void repair(const OrthonormalizeBlock& block, const T* Y, int64_t from, int64_t lane) {
    Repair one(panels_, panel(lane, 0), h_, leverage_, coefficients_);
    for (int64_t j = from; j < panels_.k; ++j) {
      const T* const column = Y + j * block.col_stride;
      one.make(
          j, [&](int64_t i) { return static_cast<double>(scalar(column + i * block.row_stride)); },
          [&](int64_t i) -> double& { return R_[(i * panels_.k + j) * kDoubles + lane]; });
    }
  }

  Panels panels_;
  char *begin_, *at_;
  float *W_, *r32_, *inverse32_, *scale32_;
  double *D_, *partial_, *R_, *second_, *third_;
  double *inverse_, *second_inverse_, *third_inverse_, *scale_;
  double *h_, *leverage_, *coefficients_;
  bool finite_[kDoubles];
};

template <class T>
void orthonormalize(const OrthonormalizeBlock& block, const T* Y) {
  const Panels panels(block.m, block.k);
  Group group(static_cast<char*>(block.scratch), panels);
  group.clear();
  const int64_t step = group_of(panels);
  for (int64_t from = 0; from < block.count; from += step) {
    group.run(block, Y + from * block.matrix_stride, from, smaller(step, block.count - from));
  }
}

}  // namespace

int64_t sk_orthonormalize_scratch(int64_t m, int64_t k) {
  return Group(nullptr, Panels(m, k)).bytes();
}

int64_t sk_orthonormalize_group(int64_t m, int64_t k) { return group_of(Panels(m, k)); }

void sk_orthonormalize_block(const OrthonormalizeBlock& block) {
  if (block.m == 0 || block.k == 0) return;
  with_type(block.Y, block.dtype, [&](auto* Y) { orthonormalize(block, Y); });
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
