// Adam on one row: singular values stay non-negative, vectors keep their norm of one.
#include "simd_mask.h"
// After the types it uses.
#include "kernels.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

struct Direction {
  Vec beta1, one_minus_beta1, beta2, one_minus_beta2, eps, correct1, correct2;

  explicit Direction(const SstConstants& c)
      : beta1(splat(c.beta1)),
        one_minus_beta1(splat(c.one_minus_beta1)),
        beta2(splat(c.beta2)),
        one_minus_beta2(splat(c.one_minus_beta2)),
        eps(splat(c.eps)),
        correct1(splat(c.correct1)),
        correct2(splat(c.correct2)) {}

  // Updates the moments in memory and returns N.
  template <class T, class Lanes>
  SUBKERN_INLINE Vec operator()(const T* g, float* m, float* v, Lanes lanes) const {
    const Vec gradient = load(g, lanes);
    const Vec first = fma(beta1, load(m, lanes), mul(one_minus_beta1, gradient));
    const Vec squares = mul(one_minus_beta2, mul(gradient, gradient));
    const Vec second = fma(beta2, load(v, lanes), squares);
    store(m, first, lanes);
    store(v, second, lanes);
    return div(mul(first, correct1), add(root(mul(second, correct2)), eps));
  }
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

template <class T>
void vector(T* x, const T* g, T* home, const SstRow& row, const SstConstants& numbers, float* y) {
  const Direction direction(numbers);
  const Vec eta = splat(numbers.eta);
  Vec squares = zero();
  for_vectors(row.n, [&](int64_t i, auto lanes) {
    const Vec step = direction(g + i, row.m + i, row.v + i, lanes);
    const Vec moved = keep(fnma(eta, step, load(x + i, lanes)), lanes);
    store(y + i, moved, lanes);
    squares = fma(moved, moved, squares);
  });
  const float total = sum(squares);
  if (total == 0.0f) {
    for_vectors(row.n, [&](int64_t i, auto lanes) { store(home + i, load(x + i, lanes), lanes); });
    return;
  }
  const Vec inverse = div(splat(1.0f), root(splat(total)));
  for_vectors(row.n, [&](int64_t i, auto lanes) {
    const Vec unit = mul(load(y + i, lanes), inverse);
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

void sk_sst_vector(const SstRow& row, const SstConstants& numbers, float* scratch) {
  with_type(row.x, row.dtype, [&](auto* x) {
    using T = decltype(+x);
    vector(x, static_cast<T>(const_cast<void*>(row.g)), static_cast<T>(row.home), row, numbers,
           scratch);
  });
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
