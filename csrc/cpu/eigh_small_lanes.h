// Jacobi's method on symmetric matrices of at most 32 rows, one per lane.
#pragma once

#include "jacobi_blocks.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

// A group of matrices: columns of n entries of C, kept symmetric, above n entries of V.
struct EighLanes {
  int64_t n;
  Columns X;
  float* values;   // n vectors
  float* scratch;  // n (n + 4) vectors

  static int64_t floats(int64_t n) { return (2 * n * n + n + n * (n + 4)) * kWidth; }

  EighLanes(int64_t n_, float* memory)
      : n(n_),
        X{memory, 2 * n_},
        values(memory + 2 * n_ * n_ * kWidth),
        scratch(values + n_ * kWidth) {}

  Columns V() const { return X.below(n); }

  void mirror() const {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = 0; i < j; ++i) put(X[j], i, at(X[i], j));
    }
  }

  // An entry off the diagonal that moves no eigenvalue by a rounding error.
  Vec floor() const {
    Vec squares = zero();
    for (int64_t j = 0; j < n; ++j) squares = add(squares, lanes_dot(X[j], X[j], n));
    return mul(root(squares), splat(kEps / (4.0f * __builtin_sqrtf(static_cast<float>(n)))));
  }

  // Rotates rows and columns p and q; C stays symmetric.
  SUBKERN_INLINE void turn_both(const Rotation& rotation, int64_t p, int64_t q, Vec g,
                                Mask turns) const {
    float *const x = X[p], *const y = X[q];
    const Vec pp = at(x, p), qq = at(y, q), moved = mul(rotation.tangent, g);
    turn_columns<false>(rotation, nowhere(), x, y, X.height);
    for (int64_t k = 0; k < n; ++k) {
      put(X[k], p, at(x, k));
      put(X[k], q, at(y, k));
    }
    put(x, p, sub(pp, moved));
    put(y, q, add(qq, moved));
    const Vec left = pick(turns, zero(), g);
    put(x, q, left);
    put(y, p, left);
  }

  template <int kPairs>
  SUBKERN_INLINE Mask turn(const int64_t (*pairs)[2], Mask active, Vec least) const {
    Vec g[kPairs];
    Mask turns[kPairs];
    Mask seen = nowhere();
    for (int k = 0; k < kPairs; ++k) {
      g[k] = at(X[pairs[k][0]], pairs[k][1]);
      turns[k] = both(active, less(least, magnitude(g[k])));
      seen = either(seen, turns[k]);
    }
    if (!any(seen)) return seen;
    Rotation rotation[kPairs];
    for (int k = 0; k < kPairs; ++k) {
      const int64_t p = pairs[k][0], q = pairs[k][1];
      rotation[k] = Rotation(at(X[p], p), at(X[q], q), g[k], turns[k], Exact{});
    }
    for (int k = 0; k < kPairs; ++k) {
      if (any(turns[k])) turn_both(rotation[k], pairs[k][0], pairs[k][1], g[k], turns[k]);
    }
    return seen;
  }

  void iterate(Lanes& lanes) const {
    const Vec least = floor();
    Mask active = less(zero(), load(lanes.good, All{}));
    for (int sweep = 0; sweep < kSweeps && any(active); ++sweep) {
      Mask seen = nowhere();
      for_blocks(n, [&](int64_t first, int64_t other, auto order) {
        for_pairs(first, other, n, order, [&](const int64_t (*pairs)[2], auto count) {
          seen = either(seen, turn<decltype(count)::value>(pairs, active, least));
        });
      });
      active = both(active, seen);
    }
    mark_unconverged(active, lanes);
  }

  void run(int64_t count, Lanes& lanes) const {
    mirror();
    scale_lanes(X, n, n, count, lanes);
    set_identity(V(), n);
    iterate(lanes);
    for (int64_t j = 0; j < n; ++j) put(values, j, at(X[j], j));
    int64_t order[kLanesLargest];
    for (int64_t l = 0; l < count; ++l) {
      if (!order_lane(values, n, l, false, order)) continue;
      permute_lane(V(), n, n, l, order, scratch);
      permute_lane({values, 1}, 1, n, l, order, scratch);
    }
    polish(V(), n, n, scratch);
    const Vec first = load(lanes.first, All{}), second = load(lanes.second, All{});
    for (int64_t j = 0; j < n; ++j) {
      put(values, j, mul(mul(at(values, j), first), second));
      negate_where(wrong_sign(V()[j], n), V()[j], n);
    }
  }

  void write(int64_t count, const Lanes& lanes, float* w, float* vectors) const {
    const Mask good = less(zero(), load(lanes.good, All{}));
    const Vec nan = splat(__builtin_nanf(""));
    write_flat(w, count, n, [&](int64_t j) { return pick(good, at(values, j), nan); });
    Walk walk{n};
    write_flat(vectors, count, n * n, [&](int64_t) {
      const Vec x = at(V()[walk.minor], walk.major);
      walk.step();
      return pick(good, x, nan);
    });
  }
};

}  // namespace
}  // namespace SUBKERN_ISA
}  // namespace subkern
