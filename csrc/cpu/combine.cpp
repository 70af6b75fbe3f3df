// The sum of basis vectors of a block, four at a time over a strip that stays in cache: more
// streams of reads than a processor follows would each wait for memory.
#include <cstdint>

#include "kernels.h"
#include "simd.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int64_t kStrip = 2048;  // numbers that stay in the first-level cache

// out = from + the sum of kCount vectors.
template <int kCount>
void add_vectors(float* out, const float* from, const float* V, int64_t stride,
                 const double* coefficients, int64_t n) {
  Vec factors[kCount];
  for (int j = 0; j < kCount; ++j) factors[j] = splat(static_cast<float>(coefficients[j]));
  for_vectors(n, [&](int64_t i, auto lanes) {
    Vec total = load(from + i, lanes);
    for (int j = 0; j < kCount; ++j)
      total = fma(factors[j], load(V + j * stride + i, lanes), total);
    store(out + i, total, lanes);
  });
}

void copy(float* out, const float* from, int64_t n) {
  for_vectors(n, [&](int64_t i, auto lanes) { store(out + i, load(from + i, lanes), lanes); });
}

}  // namespace

void sk_combine_block(float* out, const float* z, const float* V, int64_t stride,
                      const double* coefficients, int64_t m, int64_t n) {
  for (int64_t at = 0; at < n; at += kStrip) {
    const int64_t length = smaller(kStrip, n - at);
    const float* from = z + at;
    if (m == 0) copy(out + at, from, length);
    for (int64_t j = 0; j < m; j += 4) {
      const float* const vectors = V + j * stride + at;
      const double* const c = coefficients + j;
      switch (smaller(4, m - j)) {
        case 4:
          add_vectors<4>(out + at, from, vectors, stride, c, length);
          break;
        case 3:
          add_vectors<3>(out + at, from, vectors, stride, c, length);
          break;
        case 2:
          add_vectors<2>(out + at, from, vectors, stride, c, length);
          break;
        default:
          add_vectors<1>(out + at, from, vectors, stride, c, length);
      }
      from = out + at;
    }
  }
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
