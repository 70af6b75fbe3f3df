// Adam on one row: singular values stay non-negative, vectors keep their norm of one.
#include "simd_mask.h"
// After the types it uses.
#include "kernels.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

class Direction {
 public:
  explicit Direction(const SstConstants& c)
      : beta1_(splat(c.beta1)),
        one_minus_beta1_(splat(c.one_minus_beta1)),
        beta2_(splat(c.beta2)),
        one_minus_beta2_(splat(c.one_minus_beta2)),
        eps_(splat(c.eps)),
        correct1_(splat(c.correct1)),
        correct2_(splat(c.correct2)) {}

  // Updates the moments in memory and returns N.
  template <class T, class Lanes>
  SUBKERN_INLINE Vec operator()(const T* g, float* m, float* v, Lanes lanes) const {
    const Vec gradient = load(g, lanes);
    const Vec first = fma(beta1_, load(m, lanes), mul(one_minus_beta1_, gradient));
    const Vec squares = mul(one_minus_beta2_, mul(gradient, gradient));
    const Vec second = fma(beta2_, load(v, lanes), squares);
    store(m, first, lanes);
    store(v, second, lanes);
    return of(first, second);
  }

  // N of the moments in memory.
  template <class Lanes>
  SUBKERN_INLINE Vec again(const float* m, const float* v, Lanes lanes) const {
    return of(load(m, lanes), load(v, lanes));
  }

 private:
  SUBKERN_INLINE Vec of(Vec first, Vec second) const {
    return div(mul(first, correct1_), add(root(mul(second, correct2_)), eps_));
  }

  Vec beta1_, one_minus_beta1_, beta2_, one_minus_beta2_, eps_, correct1_, correct2_;
};

template <class T>
void values(T* x, const T* g, const SstRow& row, const SstConstants& numbers) {
  const Direction direction(numbers);
  const Vec eta = splat(numbers.eta), decay = splat(numbers.decay);
  for_vectors(row.n, [&](int64_t i, auto lanes) {
    const Vec step = direction(g + i, row.m + i, row.v + i, lanes);
    const Vec moved = fnma(eta, step, mul(decay, load(x + i, lanes)));
    store(x + i, larger(zero(), moved), lanes);  // this order keeps a NaN
  });
}

// y = x - eta N waits in `home` for its norm, or is computed again where that would round it.
template <class T>
void vector(T* x, const T* g, T* home, const SstRow& row, const SstConstants& numbers) {
  constexpr bool kWaits = sizeof(T) == sizeof(float);
  const Direction direction(numbers);
  const Vec eta = splat(numbers.eta);
  Vec squares = zero();
  for_vectors(row.n, [&](int64_t i, auto lanes) {
    const Vec step = direction(g + i, row.m + i, row.v + i, lanes);
    const Vec moved = keep(fnma(eta, step, load(x + i, lanes)), lanes);
    if (kWaits) store(home + i, moved, lanes);
    squares = fma(moved, moved, squares);
  });
  const float total = sum(squares);
  if (total == 0.0f) {  // nothing to normalize: the vector stays
    for_vectors(row.n, [&](int64_t i, auto lanes) { store(home + i, load(x + i, lanes), lanes); });
    return;
  }
  const Vec inverse = div(splat(1.0f), root(splat(total)));
  for_vectors(row.n, [&](int64_t i, auto lanes) {
    Vec moved;
    if (kWaits) {
      moved = load(home + i, lanes);
    } else {
      moved = fnma(eta, direction.again(row.m + i, row.v + i, lanes), load(x + i, lanes));
    }
    const Vec unit = mul(moved, inverse);
    store(x + i, unit, lanes);
    store(home + i, unit, lanes);
  });
}

}  // namespace

void sk_sst_values(const SstRow& row, const SstConstants& numbers) {
  with_type(row.x, row.dtype, [&](auto* x) {
    using T = decltype(+x);
    values(x, static_cast<T>(const_cast<void*>(row.g)), row, numbers);
  });
}

void sk_sst_vector(const SstRow& row, const SstConstants& numbers) {
  with_type(row.x, row.dtype, [&](auto* x) {
    using T = decltype(+x);
    const auto g = static_cast<T>(const_cast<void*>(row.g));
    vector(x, g, static_cast<T>(row.home), row, numbers);
  });
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
