// Blocks of the low-rank Adam step: moments, the direction, the weight epilogue.
#include "adam_core.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

// Sums along memory: this many terms per fp32 chain, then the chains add in double.
constexpr int64_t kChain = 32;

void clear(float* sums, int64_t n) {
  for (int64_t j = 0; j < n; ++j) sums[j] = 0.0f;
}

template <class Lanes>
SUBKERN_INLINE void add_square(float* total, Vec x, Lanes lanes) {
  store(total, fma(x, x, load(total, lanes)), lanes);
}

template <class T>
void galore_block(T* R, float* M, float* V, int64_t n, const AdamConstants& adam, float factor) {
  const AdamCore core(adam);
  const Vec factors = splat(factor);
  for_vectors(n, [&](int64_t i, auto lanes) {
    Vec m = load(M + i, lanes), v = load(V + i, lanes);
    const Vec direction = core(load(R + i, lanes), m, v);
    store(M + i, m, lanes);
    store(V + i, v, lanes);
    store(R + i, mul(factors, direction), lanes);
  });
}

template <class T>
void moments_cols(const T* R, const MomentsBlock& block, const AdamConstants& adam, float* nn,
                  float* rr) {
  const AdamCore core(adam);
  clear(nn, block.cols);
  clear(rr, block.cols);
  for (int64_t i = 0; i < block.rows; ++i) {
    const T* r_row = R + i * block.ld;
    float* m_row = block.M + i * block.ld;
    float* v_row = block.V + i * block.ld;
    for_vectors(block.cols, [&](int64_t j, auto lanes) {
      const Vec r = load(r_row + j, lanes);
      Vec m = load(m_row + j, lanes), v = load(v_row + j, lanes);
      const Vec direction = core(r, m, v);
      store(m_row + j, m, lanes);
      store(v_row + j, v, lanes);
      add_square(nn + j, direction, lanes);
      add_square(rr + j, r, lanes);
    });
  }
}

template <class T>
void moments_rows(const T* R, const MomentsBlock& block, const AdamConstants& adam, float* nn,
                  float* rr) {
  const AdamCore core(adam);
  for (int64_t i = 0; i < block.rows; ++i) {
    const T* r_row = R + i * block.ld;
    float* m_row = block.M + i * block.ld;
    float* v_row = block.V + i * block.ld;
    double n_total = 0.0, r_total = 0.0;
    for (int64_t begin = 0; begin < block.cols; begin += kChain * kWidth) {
      Vec n_chain = zero(), r_chain = zero();
      for_vectors(smaller(block.cols - begin, kChain * kWidth), [&](int64_t j, auto lanes) {
        j += begin;
        const Vec r = load(r_row + j, lanes);
        Vec m = load(m_row + j, lanes), v = load(v_row + j, lanes);
        // Absent lanes are 0 / eps, or NaN for eps = 0: keep them out of the sum.
        const Vec direction = keep(core(r, m, v), lanes);
        store(m_row + j, m, lanes);
        store(v_row + j, v, lanes);
        n_chain = fma(direction, direction, n_chain);
        r_chain = fma(r, r, r_chain);
      });
      n_total += sum(n_chain);
      r_total += sum(r_chain);
    }
    nn[i] = static_cast<float>(n_total);
    rr[i] = static_cast<float>(r_total);
  }
}

template <class T>
void fira_direction(T* R, const MomentsBlock& block, float eps, float factor, float residual,
                    const float* col_c, const float* row_c, int64_t row_c_stride) {
  const Vec epsilons = splat(eps), factors = splat(factor), residuals = splat(residual);
  for (int64_t i = 0; i < block.rows; ++i) {
    T* r_row = R + i * block.ld;
    const float* m_row = block.M + i * block.ld;
    const float* v_row = block.V + i * block.ld;
    const Vec row_factor = col_c == nullptr ? splat(row_c[i * row_c_stride]) : zero();
    for_vectors(block.cols, [&](int64_t j, auto lanes) {
      const Vec c = col_c == nullptr ? row_factor : load(col_c + j, lanes);
      const Vec root_v = root(load(v_row + j, lanes));
      const Vec direction = div(load(m_row + j, lanes), add(root_v, epsilons));
      const Vec projected = mul(mul(residuals, c), load(r_row + j, lanes));
      store(r_row + j, fma(factors, direction, projected), lanes);
    });
  }
}

// Stands for an operand that is not there.
struct Absent {};

template <class Lanes>
SUBKERN_INLINE Vec plus_panel(Vec decayed, const Absent*, int64_t, Lanes) {
  return decayed;
}
template <class T, class Lanes>
SUBKERN_INLINE Vec plus_panel(Vec decayed, const T* panel, int64_t j, Lanes lanes) {
  return add(decayed, load(panel + j, lanes));
}
template <class Lanes>
SUBKERN_INLINE Vec plus_scaled(Vec sum_so_far, Vec, const Absent*, int64_t, Lanes) {
  return sum_so_far;
}
template <class T, class Lanes>
SUBKERN_INLINE Vec plus_scaled(Vec sum_so_far, Vec c, const T* panel, int64_t j, Lanes lanes) {
  return fma(c, load(panel + j, lanes), sum_so_far);
}

inline const Absent* advance(const Absent* none, int64_t) { return none; }
template <class T>
inline T* advance(T* panel, int64_t elements) {
  return panel + elements;
}

// `cols` contiguous elements of one row; c is a vector if column_coef is given, else row_coef.
template <class TW, class TT, class TX>
SUBKERN_INLINE void apply_row(TW* W, const TT* T, const TX* X, int64_t cols, Vec decays,
                              const float* column_coef, Vec row_coef) {
  for_vectors(cols, [&](int64_t j, auto lanes) {
    const Vec c = column_coef == nullptr ? row_coef : load(column_coef + j, lanes);
    const Vec decayed = plus_panel(mul(decays, load(W + j, lanes)), T, j, lanes);
    store(W + j, plus_scaled(decayed, c, X, j, lanes), lanes);
  });
}

template <class TW, class TT, class TX>
void apply_block(TW* W, const TT* T, const TX* X, const ApplyBlock& block) {
  const Vec decays = splat(block.decay);
  const bool per_column = block.coef != nullptr && block.coef_axis == 1;
  const bool per_row = block.coef != nullptr && block.coef_axis == 0;
  const auto unit = [](const Panel& panel) {
    return panel.data == nullptr || panel.col_stride == 1;
  };
  // Without unit column strides each element is a row of one: slow, but the same arithmetic.
  const bool contiguous = unit(block.W) && unit(block.T) && unit(block.X);
  const int64_t step = contiguous ? block.cols : 1;
  for (int64_t i = 0; i < block.rows; ++i) {
    const Vec row_coef = splat(per_row ? block.coef[i] : 1.0f);
    for (int64_t j = 0; j < block.cols; j += step) {
      apply_row(advance(W, i * block.W.row_stride + j * block.W.col_stride),
                advance(T, i * block.T.row_stride + j * block.T.col_stride),
                advance(X, i * block.X.row_stride + j * block.X.col_stride), step, decays,
                per_column ? block.coef + j : nullptr, row_coef);
    }
  }
}

template <class Body>
void with_panel(const Panel& panel, const Body& body) {
  if (panel.data == nullptr) {
    body(static_cast<const Absent*>(nullptr));
  } else {
    with_type(static_cast<const void*>(panel.data), panel.dtype, body);
  }
}

}  // namespace

void sk_galore_block(void* R, Dtype dtype, float* M, float* V, int64_t n, const AdamConstants& adam,
                     float factor) {
  with_type(R, dtype, [&](auto* typed) { galore_block(typed, M, V, n, adam, factor); });
}

void sk_moments_cols(const MomentsBlock& block, const AdamConstants& adam, float* nn, float* rr) {
  with_type(block.R, block.dtype, [&](auto* R) { moments_cols(R, block, adam, nn, rr); });
}

void sk_moments_rows(const MomentsBlock& block, const AdamConstants& adam, float* nn, float* rr) {
  with_type(block.R, block.dtype, [&](auto* R) { moments_rows(R, block, adam, nn, rr); });
}

void sk_fira_direction(const MomentsBlock& block, float eps, float factor, float residual,
                       const float* col_c, const float* row_c, int64_t row_c_stride) {
  with_type(block.R, block.dtype, [&](auto* R) {
    fira_direction(R, block, eps, factor, residual, col_c, row_c, row_c_stride);
  });
}

void sk_apply_block(const ApplyBlock& block) {
  with_type(block.W.data, block.W.dtype, [&](auto* W) {
    with_panel(block.T, [&](auto* T) {
      with_panel(block.X, [&](auto* X) { apply_block(W, T, X, block); });
    });
  });
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
