// A group of matrices in the passes of mixed CholeskyQR2. Included by orthonormalize.cpp.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "orthonormalize_factor.h"
#include "orthonormalize_narrow.h"
#include "orthonormalize_panels.h"
#include "orthonormalize_repair.h"
#include "subkern/orthonormalize.h"

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
  // Carves the scratch up; numbers, since without scratch only the size is asked for.
  Group(void* scratch, const Panels& panels)
      : panels_(panels),
        long_(panels.m, panels.k, kLongRows),
        begin_(reinterpret_cast<std::uintptr_t>(scratch)),
        at_(begin_) {
    const int64_t k = panels.k, padded = k <= kNarrow ? 8 : panels.padded_k(),
                  tall = panels.count * panels.rows;
    narrow_ = k <= kNarrow;
    collects_ = kCollects && narrow_ && padded == panels.padded_k();
    keeps_ = !narrow_ && panels.floats() * 4 * kDoubles <= kKeptBytes;
    W_ = take<float>((keeps_ ? kDoubles : 1) * panels.floats());
    tile_ = take<float>(padded * (narrow_ ? kLongPitch : kPitch));
    D_ = take<double>(padded * kWidePitch);
    partial_ = take<double>(panels.count > 1 || narrow_ ? padded * padded * kDoubles : 0);
    collected_ = take<double>(collects_ ? 64 * kDoubles : 0);
    R_ = take<double>(k * k * kDoubles);
    second_ = take<double>(k * k * kDoubles);
    total_ = take<double>(k * k * kDoubles);
    alone_ = take<double>(k * k * kDoubles);
    step_ = take<double>(k * k * kDoubles);
    inverse_ = take<double>(k * kDoubles);
    second_inverse_ = take<double>(k * kDoubles);
    alone_inverse_ = take<double>(k * kDoubles);
    scale_ = take<double>(k * kDoubles);
    for (Divisor& divisor : divisors_)
      divisor = {k, take<float>(k * k), take<float>(k), take<float>(k)};
    for (TileDivisor& divisor : tile_divisors_)
      divisor.data = take<float>(narrow_ ? TileDivisor::kFloats : 0);
    out_ = take<float>(k * k * kDoubles);
    h_ = take<double>(tall);
    leverage_ = take<double>(tall);
    coefficients_ = take<double>(2 * k);
    rows_ = take<float>(narrow_ ? tall * 8 : 0);
    finite_ = take<bool>(kDoubles);
    done_ = take<bool>(kDoubles);
    scaled_ = take<bool>(kDoubles);
  }

  int64_t bytes() const { return static_cast<int64_t>(at_ - begin_); }

  // Columns past k and halves below the diagonal stay zero; lanes without a matrix hold numbers.
  void clear() {
    const int64_t k = panels_.k;
    for (int64_t i = k * kWidePitch; i < panels_.padded_k() * kWidePitch; ++i) D_[i] = 0.0;
    const int64_t pitch = narrow_ ? kLongPitch : kPitch;
    for (int64_t i = k * pitch; i < panels_.padded_k() * pitch; ++i) tile_[i] = 0.0f;
    for (int64_t p = 0; p < (keeps_ ? kDoubles : 1) * panels_.count; ++p) {
      for (int64_t i = k * kPitch; i < panels_.padded_k() * kPitch; ++i) panel(p)[i] = 0.0f;
    }
    for (const TileDivisor& divisor : tile_divisors_) {
      for (int64_t i = 0; narrow_ && i < TileDivisor::kFloats; ++i) divisor.data[i] = 0.0f;
    }
    for (int64_t i = 0; i < k * k * kDoubles; ++i) R_[i] = 0.0;
    for (int64_t i = 0; i < k * k * kDoubles; ++i) out_[i] = 0.0f;
  }

  // R and info of at most kDoubles matrices, and Q of those that need more than two passes. What
  // finish and product need for the others stays in the scratch.
  template <class T>
  void factorize(const OrthonormalizeBlock& block, const T* Y) {
    const int64_t k = panels_.k;
    const auto matrix = [&](int64_t l) { return Y + l * block.matrix_stride; };
    for (int64_t l = 0; l < block.count; ++l) sum(block, matrix(l), l);
    if (collects_) spread(collected_, k, R_);
    find_scales(block.count);
    factor(R_, k, threshold(), inverse_);
    if (narrow_) set_divisors(tile_divisors_[0], R_, inverse_, scale_, k);
    for (int64_t l = 0; l < block.count; ++l) divide_and_sum(block, matrix(l), l);
    if (collects_) spread(collected_, k, second_);
    double off[kDoubles];
    departure(second_, k, inverse_, off);
    factor(second_, k, threshold(), second_inverse_);
    if (narrow_) set_inverse(tile_divisors_[1], second_, second_inverse_, k);
    multiply(second_, R_, k, total_);
    for (int64_t l = 0; l < block.count; ++l) {
      float* const Q = block.Q + l * panels_.m * k;
      const bool again = off[l] > kThirdPass;
      done_[l] = !finite_[l] || again || leading_good(second_inverse_, l) < k;
      if (!finite_[l]) {
        for (int64_t e = 0; e < panels_.m * k; ++e) Q[e] = NAN;
        block.info[l] |= kNonFinite;
      } else if (done_[l]) {
        set_divisor(first_, R_, inverse_, scale_, l);
        slowly(block, matrix(l), l, again, Q, block.info + l);
      }
    }
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = i; j < k; ++j) {
        store_narrow(out_ + (i * k + j) * kDoubles, dload(total_ + (i * k + j) * kDoubles));
      }
    }
    for (int64_t l = 0; l < block.count; ++l) {
      float* const R = block.R + l * k * k;
      for (int64_t e = 0; e < k * k; ++e) R[e] = out_[e * kDoubles + l];
      for (int64_t e = 0; !finite_[l] && e < k * k; ++e) R[e] = NAN;
    }
  }

  // Q of the lane.
  template <class T>
  void finish(const OrthonormalizeBlock& block, const T* Y, int64_t l) {
    if (done_[l]) return;
    divide_and_write(block, Y + l * block.matrix_stride, l, block.Q + l * panels_.m * panels_.k);
  }

  // Q F of the lane, with the signs that make the largest entry of each column positive; false
  // where Q was written already.
  template <class T>
  bool product(const OrthonormalizeBlock& block, const T* Y, int64_t l, const float* F,
               float* signs) {
    if (kNarrow == 0 || done_[l]) return false;
    const int64_t m = panels_.m, k = panels_.k;
    alignas(64) float right[64];
    multiply_factor(tile_divisors_[1].of(l), F, k, right);
    Largest largest;
    each_divided<1>(
        block, Y + l * block.matrix_stride, l, panels_,
        [&](auto& tiles, int64_t r, int64_t p) {
          float* to = rows_ + (p * panels_.rows + r) * 8;
          for (auto& tile : tiles) {
            multiply_tile(right, tile);
            turn_rows(tile);
#pragma GCC unroll 8
            for (int i = 0; i < 8; ++i, to += kWidth) {
              store(to, tile[i], All{});
              largest.see(tile[i]);
            }
          }
        },
        [](int64_t) {});
    largest.signs(rows_, m, signs);
    write_signed(rows_, m, k, signs, streams(block), block.Q + l * m * k);
    return true;
  }

 private:
  template <class T>
  T* take(int64_t n) {
    T* const mine = reinterpret_cast<T*>(at_);
    at_ += static_cast<std::uintptr_t>(round_up(n * static_cast<int64_t>(sizeof(T)), 64));
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

  // Calls body(tiles, row in the panel, panel) for kTiles tiles at a time of a matrix of at most
  // kNarrow columns, and end(p) after each panel.
  template <int kTiles, class T, class Body, class End>
  SUBKERN_INLINE void each_tile(const OrthonormalizeBlock& block, const T* Y, const Panels& shape,
                                const Body& body, const End& end) const {
    for (int64_t p = 0; p < shape.count; ++p) {
      for (int64_t r = 0; r < shape.rows; r += kTiles * kWidth) {
        Tile tiles[kTiles];
#pragma GCC unroll 2
        for (int t = 0; t < kTiles; ++t) {
          const int64_t row = p * shape.rows + r + t * kWidth;
          read_tile(Y + row * block.row_stride, block.row_stride, block.col_stride, shape.m - row,
                    shape.k, tiles[t]);
        }
        body(tiles, r, p);
      }
      end(p);
    }
  }

  // The same for the tiles of Q1, which is Y over the first divisor.
  template <int kTiles, class T, class Body, class End>
  SUBKERN_INLINE void each_divided(const OrthonormalizeBlock& block, const T* Y, int64_t l,
                                   const Panels& shape, const Body& body, const End& end) const {
    const TileDivisor first = tile_divisors_[0].of(l);
    const auto run = [&](auto scaled) {
      each_tile<kTiles>(
          block, Y, shape,
          [&](auto& tiles, int64_t r, int64_t p) {
            divide_tiles<decltype(scaled)::value>(first, tiles);
            body(tiles, r, p);
          },
          end);
    };
    scaled_[l] ? run(std::true_type()) : run(std::false_type());
  }

  // Half of the lines (even or odd ones) of some tiles' rows of the matrix that comes after the
  // group. Two passes ask for them; the one that writes keeps the memory busy itself.
  template <int kTiles, class T>
  SUBKERN_INLINE void ask_for(const OrthonormalizeBlock& block, const T* Y, int64_t row,
                              int64_t half) const {
    if (block.ahead == 0 || block.col_stride != 1 || block.row_stride != panels_.k) return;
    const int64_t bytes = kTiles * kWidth * panels_.k * static_cast<int64_t>(sizeof(T));
    const char* const next = reinterpret_cast<const char*>(Y + block.ahead + row * panels_.k);
    for (int64_t b = 64 * half; b < bytes; b += 128) __builtin_prefetch(next + b, 0, 2);
  }

  // R_ of the lane: Y^T Y.
  template <class T>
  void sum(const OrthonormalizeBlock& block, const T* Y, int64_t l) {
    const auto add = [&](int64_t p) {
      GramSums to = sums(R_, l, p);
      to.last = to.last && !collects_;
      gram_panel(D_, panels_, to);
    };
    if (!narrow_) return each_panel(block, Y, D_, add);
    each_tile<1>(
        block, Y, panels_,
        [&](auto& tiles, int64_t r, int64_t p) {
          ask_for<1>(block, Y, p * panels_.rows + r, 1);
          double* to = D_ + r;
          for (auto& tile : tiles) {
#pragma GCC unroll 8
            for (int c = 0; c < 8; ++c) put(to + c * kWidePitch, tile[c]);
            to += kWidth;
          }
        },
        add);
    if (collects_) collect(partial_, collected_ + l * 64);
  }

  // second_ of the lane: Q1^T Q1, where Q1 is Y over the first divisor.
  template <class T>
  void divide_and_sum(const OrthonormalizeBlock& block, const T* Y, int64_t l) {
    if (!narrow_) {
      set_divisor(first_, R_, inverse_, scale_, l);
      float* const Q1 = keeps_ ? panel(0, l) : tile_;
      const int64_t step = keeps_ ? panels_.padded_k() * kPitch : 0;
      const auto divide = [&](int64_t p) {
        divide_panel(Q1 + p * step, panels_.rows, panels_.k, first_);
        gram_panel(Q1 + p * step, panels_, sums(second_, l, p));
      };
      return each_panel(block, Y, Q1, divide, step);
    }
    each_divided<kTwoTiles>(
        block, Y, l, long_,
        [&](auto& tiles, int64_t r, int64_t p) {
          ask_for<kTwoTiles>(block, Y, p * long_.rows + r, 0);
          float* to = tile_ + r;
          for (auto& tile : tiles) {
#pragma GCC unroll 8
            for (int c = 0; c < 8; ++c) put(to + c * kLongPitch, tile[c]);
            to += kWidth;
          }
        },
        [&](int64_t p) {
          const bool last = p == long_.count - 1 && !collects_;
          gram_columns<kLongPitch>(tile_, long_, {partial_, second_ + l, p == 0, last});
        });
    if (collects_) collect(partial_, collected_ + l * 64);
  }

  // Whether whole tiles of Q may go past the caches.
  bool streams(const OrthonormalizeBlock& block) const {
    return block.streams && panels_.k == 8 && panels_.m % kWidth == 0;
  }

  // Q: Y over both divisors.
  template <class T>
  void divide_and_write(const OrthonormalizeBlock& block, const T* Y, int64_t l, float* Q) {
    const int64_t k = panels_.k;
    if (!narrow_) set_divisor(then_, second_, second_inverse_, nullptr, l);
    if (keeps_) return divide_and_write_kept(l, Q);
    if (!narrow_) {
      set_divisor(first_, R_, inverse_, scale_, l);
      return each_panel(block, Y, tile_, [&](int64_t p) {
        divide_panel(tile_, panels_.rows, k, first_);
        divide_panel(tile_, panels_.rows, k, then_);
        write_panel(tile_, valid(p), k, Q + p * panels_.rows * k);
      });
    }
    const bool past = streams(block);
    const TileDivisor then = tile_divisors_[1].of(l);
    each_divided<1>(
        block, Y, l, panels_,
        [&](auto& tiles, int64_t r, int64_t p) {
          for (auto& tile : tiles) {
            multiply_inverse(then, tile);
            store_rows(Q + (p * panels_.rows + r) * k, k, valid(p) - r, past, tile);
            r += kWidth;
          }
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
      finite_[l] = scaled_[l] = true;
      bool usual = true;
      for (int64_t j = 0; j < panels_.k; ++j) {
        const double squared = R_[(j * panels_.k + j) * kDoubles + l];
        finite_[l] = finite_[l] && squared <= 1e300;
        usual = usual && squared > 0x1p-80 && squared < 0x1p80;
        scale_[j * kDoubles + l] = scale_for(squared);
      }
      if (!narrow_ || !usual) continue;
      scaled_[l] = false;
      for (int64_t j = 0; j < panels_.k; ++j) scale_[j * kDoubles + l] = 1.0;
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

  Panels panels_, long_;
  std::uintptr_t begin_, at_;
  float *W_, *tile_;
  double *D_, *partial_;
  double *R_, *total_, *second_, *alone_, *step_;  // k x k for all lanes
  double *inverse_, *second_inverse_, *alone_inverse_, *scale_;
  Divisor divisors_[2];
  const Divisor &first_ = divisors_[0], &then_ = divisors_[1];
  TileDivisor tile_divisors_[2];
  double* collected_;  // sums of all lanes, before they are those of R_ or second_
  float* out_;         // R of all lanes, rounded
  double *h_, *leverage_, *coefficients_;
  float* rows_;                     // of Q F, 8 to a row
  bool *finite_, *done_, *scaled_;  // lanes whose input is finite; whose results are written; whose
                                    // columns need scales
  bool narrow_, collects_, keeps_;
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
