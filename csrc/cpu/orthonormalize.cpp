// Mixed CholeskyQR2 of a group of matrices: rows are lanes in the tall products, matrices are lanes
// in the small factorizations. Nothing that one matrix gives depends on the others.
#include <cmath>

#include "kernels.h"
// After it: what the vectors of a variant need is declared there.
#include "orthonormalize_factor.h"
#include "orthonormalize_narrow.h"
#include "orthonormalize_panels.h"
#include "orthonormalize_repair.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr double kPivot = 0x1p-44;       // (4 u32)^2
constexpr double kThirdPass = 0.05;      // departure from the identity that asks for another pass
constexpr int64_t kKeptBytes = 1 << 19;  // of Q1 of all lanes: they stay in the second-level cache
constexpr int32_t kNonFinite = 1, kDeficient = 2;

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
    const int64_t k = panels.k, padded = k <= kNarrow ? 8 : panels.padded_k(),
                  tall = panels.count * panels.rows;
    keeps_ = k > kNarrow && panels.floats() * 4 * kDoubles <= kKeptBytes;
    W_ = take<float>((keeps_ ? kDoubles : 1) * panels.floats());
    tile_ = take<float>(padded * kPitch);
    D_ = take<double>(padded * kWidePitch);
    partial_ = take<double>(panels.count > 1 ? padded * padded * kDoubles : 0);
    R_ = take<double>(k * k * kDoubles);
    second_ = take<double>(k * k * kDoubles);
    total_ = take<double>(k * k * kDoubles);
    alone_ = take<double>(k * k * kDoubles);
    step_ = take<double>(k * k * kDoubles);
    inverse_ = take<double>(k * kDoubles);
    second_inverse_ = take<double>(k * kDoubles);
    alone_inverse_ = take<double>(k * kDoubles);
    scale_ = take<double>(k * kDoubles);
    const int64_t wide = k < 8 ? 8 : k;
    divisors_[0] = {wide, take<float>(wide * wide), take<float>(wide), take<float>(wide)};
    divisors_[1] = {wide, take<float>(wide * wide), take<float>(wide), take<float>(wide)};
    h_ = take<double>(tall);
    leverage_ = take<double>(tall);
    coefficients_ = take<double>(2 * k);
  }

  int64_t bytes() const { return at_ - begin_; }

  // Columns past k and halves below the diagonal stay zero; lanes without a matrix hold numbers.
  void clear() {
    const int64_t k = panels_.k;
    for (int64_t i = k * kWidePitch; i < panels_.padded_k() * kWidePitch; ++i) D_[i] = 0.0;
    for (int64_t i = k * kPitch; i < panels_.padded_k() * kPitch; ++i) tile_[i] = 0.0f;
    for (int64_t p = 0; p < (keeps_ ? kDoubles : 1) * panels_.count; ++p) {
      for (int64_t i = k * kPitch; i < panels_.padded_k() * kPitch; ++i) panel(p)[i] = 0.0f;
    }
    for (const Divisor& divisor : divisors_) {
      const int64_t wide = divisor.stride;
      for (int64_t i = 0; i < wide * wide; ++i) divisor.R[i] = 0.0f;
      for (int64_t i = 0; i < wide; ++i) divisor.inverse[i] = divisor.scale[i] = 0.0f;
    }
    for (int64_t i = 0; i < k * k * kDoubles; ++i) R_[i] = 0.0;
  }

  template <class T>
  void run(const OrthonormalizeBlock& block, const T* Y, int64_t from, int64_t count) {
    const int64_t k = panels_.k;
    const auto matrix = [&](int64_t l) { return Y + l * block.matrix_stride; };
    for (int64_t l = 0; l < count; ++l) {
      sum(block, matrix(l), l);
    }
    find_scales(count);
    factor(R_, k, threshold(), inverse_);
    for (int64_t l = 0; l < count; ++l) {
      set_divisor(first_, R_, inverse_, scale_, l);
      divide_and_sum(block, matrix(l), l);
    }
    double off[kDoubles];
    departure(second_, k, inverse_, off);
    factor(second_, k, threshold(), second_inverse_);
    multiply(second_, R_, k, total_);
    for (int64_t l = 0; l < count; ++l) {
      float* const Q = block.Q + (from + l) * panels_.m * k;
      float* const R = block.R + (from + l) * k * k;
      if (!finite_[l]) {
        for (int64_t e = 0; e < panels_.m * k; ++e) Q[e] = NAN;
        for (int64_t e = 0; e < k * k; ++e) R[e] = NAN;
        block.info[from + l] |= kNonFinite;
        continue;
      }
      set_divisor(first_, R_, inverse_, scale_, l);
      if (off[l] > kThirdPass || leading_good(second_inverse_, l) < k) {
        slowly(block, matrix(l), l, off[l] > kThirdPass, Q, block.info + from + l);
      } else {
        set_divisor(then_, second_, second_inverse_, nullptr, l);
        divide_and_write(block, matrix(l), l, Q);
      }
      for (int64_t i = 0; i < k; ++i) {
        for (int64_t j = 0; j < i; ++j) R[i * k + j] = 0.0f;
        for (int64_t j = i; j < k; ++j) {
          R[i * k + j] = static_cast<float>(total_[(i * k + j) * kDoubles + l]);
        }
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

  // Panel p of the matrix in W; with a lane, where Q1 is kept.
  float* panel(int64_t p, int64_t lane = 0) const {
    return W_ + lane * panels_.floats() + p * panels_.padded_k() * kPitch;
  }
  int64_t valid(int64_t p) const { return smaller(panels_.rows, panels_.m - p * panels_.rows); }
  GramSums sums(double* G, int64_t lane, int64_t p) const {
    return {partial_, G + lane, p == 0, p == panels_.count - 1};
  }

  // Reads panel after panel into `to` and calls body(p). Reading Y three times is cheaper than
  // keeping it in this layout: each pass would write it back through the caches.
  template <class T, class To, class Body>
  void each_panel(const OrthonormalizeBlock& block, const T* Y, To* to, const Body& body,
                  int64_t step = 0) const {
    for (int64_t p = 0; p < panels_.count; ++p, to += step) {
      read_panel(Y + p * panels_.rows * block.row_stride, block.row_stride, block.col_stride,
                 valid(p), panels_.rows, panels_.k, to);
      body(p);
    }
  }

  // Calls body(tile, row in the panel, panel) for the tiles of a matrix of at most kNarrow columns,
  // and end(p) after each panel.
  template <class T, class Body, class End>
  SUBKERN_INLINE void each_tile(const OrthonormalizeBlock& block, const T* Y, const Body& body,
                                const End& end) const {
    for (int64_t p = 0; p < panels_.count; ++p) {
      for (int64_t r = 0; r < panels_.rows; r += kWidth) {
        Tile tile;
        read_tile(Y + (p * panels_.rows + r) * block.row_stride, block.row_stride, block.col_stride,
                  valid(p) - r, panels_.k, tile);
        body(tile, r, p);
      }
      end(p);
    }
  }

  // R_ of the lane: Y^T Y.
  template <class T>
  void sum(const OrthonormalizeBlock& block, const T* Y, int64_t l) {
    const auto add = [&](int64_t p) { gram_panel(D_, panels_, sums(R_, l, p)); };
    if (panels_.k > kNarrow) return each_panel(block, Y, D_, add);
    each_tile(
        block, Y,
        [&](auto& tile, int64_t r, int64_t) {
#pragma GCC unroll 8
          for (int c = 0; c < 8; ++c) put(D_ + c * kWidePitch + r, tile[c]);
        },
        add);
  }

  // second_ of the lane: Q1^T Q1, where Q1 is Y over the first divisor.
  template <class T>
  void divide_and_sum(const OrthonormalizeBlock& block, const T* Y, int64_t l) {
    const auto add = [&](int64_t p) { gram_panel(tile_, panels_, sums(second_, l, p)); };
    if (panels_.k > kNarrow) {
      float* const Q1 = keeps_ ? panel(0, l) : tile_;
      const int64_t step = keeps_ ? panels_.padded_k() * kPitch : 0;
      const auto divide = [&](int64_t p) {
        divide_panel(Q1 + p * step, panels_.rows, panels_.k, first_);
        gram_panel(Q1 + p * step, panels_, sums(second_, l, p));
      };
      return each_panel(block, Y, Q1, divide, step);
    }
    each_tile(
        block, Y,
        [&](auto& tile, int64_t r, int64_t) {
          divide_tile(first_, tile);
#pragma GCC unroll 8
          for (int c = 0; c < 8; ++c) put(tile_ + c * kPitch + r, tile[c]);
        },
        add);
  }

  // Q: Y over both divisors.
  template <class T>
  void divide_and_write(const OrthonormalizeBlock& block, const T* Y, int64_t l, float* Q) {
    const int64_t k = panels_.k;
    if (keeps_) return divide_and_write_kept(l, Q);
    if (k > kNarrow) {
      return each_panel(block, Y, tile_, [&](int64_t p) {
        divide_panel(tile_, panels_.rows, k, first_);
        divide_panel(tile_, panels_.rows, k, then_);
        write_panel(tile_, valid(p), k, Q + p * panels_.rows * k);
      });
    }
    each_tile(
        block, Y,
        [&](auto& tile, int64_t r, int64_t p) {
          divide_tile(first_, tile);
          divide_tile(then_, tile);
          store_rows(Q + (p * panels_.rows + r) * k, k, valid(p) - r, tile);
        },
        [](int64_t) {});
  }

  void divide_and_write_kept(int64_t lane, float* Q) {
    for (int64_t p = 0; p < panels_.count; ++p) {
      divide_panel(panel(p, lane), panels_.rows, panels_.k, then_);
      write_panel(panel(p, lane), valid(p), panels_.k, Q + p * panels_.rows * panels_.k);
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

  void set_divisor(const Divisor& to, const double* R, const double* inverse, const double* scale,
                   int64_t lane) const {
    const int64_t k = panels_.k;
    for (int64_t j = 0; j < k; ++j) {
      const double factor = scale != nullptr ? scale[j * kDoubles + lane] : 1.0;
      to.scale[j] = static_cast<float>(factor);
      to.inverse[j] = static_cast<float>(inverse[j * kDoubles + lane] / factor);
      for (int64_t i = 0; i < j; ++i) {
        to.R[i * to.stride + j] = static_cast<float>(R[(i * k + j) * kDoubles + lane] * factor);
      }
    }
  }

  int64_t leading_good(const double* inverse, int64_t lane) const {
    int64_t j = 0;
    while (j < panels_.k && inverse[j * kDoubles + lane] > 0.0) ++j;
    return j;
  }

  // One matrix whose second Gram matrix was off, or that needs repair. Lane by lane, beside
  // the group: nothing in total_ but its own lane changes.
  template <class T>
  void slowly(const OrthonormalizeBlock& block, const T* Y, int64_t lane, bool again, float* Q,
              int32_t* info) {
    const int64_t k = panels_.k;
    const int64_t kept = keeps_ ? lane : 0;
    const auto Q1 = [&](int64_t p) { return panel(p, kept); };
    if (!keeps_) {
      const auto divide = [&](int64_t p) { divide_panel(Q1(p), panels_.rows, k, first_); };
      each_panel(block, Y, Q1(0), divide, panels_.padded_k() * kPitch);
    }
    const double* inverse = second_inverse_;
    if (again) {
      // The sums in float were not worth much there: from R1 again, in double.
      for (int64_t e = 0; e < k * k; ++e) alone_[e * kDoubles] = R_[e * kDoubles + lane];
      for (int pass = 0; pass < 2; ++pass) {
        for (int64_t p = 0; p < panels_.count; ++p) {
          widen_panel(Q1(p));
          gram_panel(D_, panels_, sums(step_, 0, p));
        }
        factor(step_, k, threshold(), alone_inverse_);
        set_divisor(then_, step_, alone_inverse_, nullptr, 0);
        for (int64_t p = 0; p < panels_.count; ++p) {
          divide_panel(Q1(p), panels_.rows, k, then_);
        }
        multiply(step_, alone_, k, alone_);
      }
      for (int64_t e = 0; e < k * k; ++e) total_[e * kDoubles + lane] = alone_[e * kDoubles];
      inverse = alone_inverse_;
    } else {
      set_divisor(then_, second_, second_inverse_, nullptr, lane);
      for (int64_t p = 0; p < panels_.count; ++p) divide_panel(Q1(p), panels_.rows, k, then_);
    }
    const int64_t good = leading_good(inverse, again ? 0 : lane);
    if (good < k) {
      repair(block, Y, Q1(0), good, lane);
      *info |= kDeficient;
    }
    for (int64_t p = 0; p < panels_.count; ++p) {
      write_panel(Q1(p), valid(p), k, Q + p * panels_.rows * k);
    }
  }

  void widen_panel(const float* W) {
    for (int64_t j = 0; j < panels_.k; ++j) {
      for (int64_t r = 0; r < panels_.rows; r += kWidth) {
        put(D_ + j * kWidePitch + r, load(W + j * kPitch + r, All{}));
      }
    }
  }

  template <class T>
  void repair(const OrthonormalizeBlock& block, const T* Y, float* W, int64_t from, int64_t lane) {
    Repair one(panels_, W, h_, leverage_, coefficients_);
    for (int64_t j = from; j < panels_.k; ++j) {
      const T* const column = Y + j * block.col_stride;
      one.make(
          j, [&](int64_t i) { return static_cast<double>(scalar(column + i * block.row_stride)); },
          [&](int64_t i) -> double& { return total_[(i * panels_.k + j) * kDoubles + lane]; });
    }
  }

  Panels panels_;
  char *begin_, *at_;
  float *W_, *tile_;
  double *D_, *partial_;
  double *R_, *total_, *second_, *alone_, *step_;  // k x k for all lanes
  double *inverse_, *second_inverse_, *alone_inverse_, *scale_;
  Divisor divisors_[2];
  const Divisor &first_ = divisors_[0], &then_ = divisors_[1];
  double *h_, *leverage_, *coefficients_;
  bool finite_[kDoubles], keeps_;
};

template <class T>
void orthonormalize(const OrthonormalizeBlock& block, const T* Y) {
  const Panels panels(block.m, block.k);
  Group group(static_cast<char*>(block.scratch), panels);
  group.clear();
  for (int64_t from = 0; from < block.count; from += kDoubles) {
    group.run(block, Y + from * block.matrix_stride, from, smaller(kDoubles, block.count - from));
  }
}

}  // namespace

int64_t sk_orthonormalize_scratch(int64_t m, int64_t k) {
  return Group(nullptr, Panels(m, k)).bytes();
}

int64_t sk_orthonormalize_group() { return kDoubles; }

void sk_orthonormalize_block(const OrthonormalizeBlock& block) {
  if (block.m == 0 || block.k == 0) return;
  with_type(block.Y, block.dtype, [&](auto* Y) { orthonormalize(block, Y); });
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
