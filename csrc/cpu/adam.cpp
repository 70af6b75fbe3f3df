// Blocks of the unprojected Adam step, and the non-finite check that precedes every step.
#include "adam_core.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

// A single stream of reads waits for memory at every page; four of them overlap their waits.
template <class T>
bool has_nonfinite(const T* x, int64_t n) {
  const int64_t quarter = n / (4 * kWidth) * kWidth;
  NonFinite a, b, c, d;
  for (int64_t i = 0; i < quarter; i += kWidth) {
    a.see(load(x + i, All{}));
    b.see(load(x + i + quarter, All{}));
    c.see(load(x + i + 2 * quarter, All{}));
    d.see(load(x + i + 3 * quarter, All{}));
  }
  const T* rest = x + 4 * quarter;
  for_vectors(n - 4 * quarter, [&](int64_t i, auto lanes) { a.see(load(rest + i, lanes)); });
  return a.found() || b.found() || c.found() || d.found();
}

template <class T>
void adam_block(T* W, const T* G, float* M, float* V, int64_t n, const AdamConstants& adam,
                float decay, float factor) {
  const AdamCore core(adam);
  const Vec decays = splat(decay), factors = splat(factor);
  for_vectors(n, [&](int64_t i, auto lanes) {
    Vec m = load(M + i, lanes), v = load(V + i, lanes);
    const Vec direction = core(load(G + i, lanes), m, v);
    store(M + i, m, lanes);
    store(V + i, v, lanes);
    store(W + i, fma(factors, direction, mul(decays, load(W + i, lanes))), lanes);
  });
}

}  // namespace

bool sk_has_nonfinite(const void* x, Dtype dtype, int64_t n) {
  bool found = false;
  with_type(x, dtype, [&](auto* typed) { found = has_nonfinite(typed, n); });
  return found;
}

void sk_adam_block(void* W, const void* G, Dtype dtype, float* M, float* V, int64_t n,
                   const AdamConstants& adam, float decay, float factor) {
  with_type(W, dtype, [&](auto* typed) {
    using T = decltype(+typed);
    adam_block(typed, static_cast<const T>(const_cast<void*>(G)), M, V, n, adam, decay, factor);
  });
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
