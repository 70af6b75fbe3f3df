// One product of a low-rank step: packed factors, a register tile, and what happens to a tile of
// sums. An element of C is summed over p in order, by one fused multiply-add per term, in blocks
// of depth_block terms that go to C in order: its bits depend on nothing else.
#include "kernels.h"
#include "product_pack.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int kSegments = 16;  // parts of a tile's sum; between them come the prefetches
constexpr int64_t kLine = 64;

// Memory that will be read soon: `rows` rows of `lines` cache lines.
struct Upcoming {
  const char* row = nullptr;
  int64_t stride = 0;
  int64_t lines = 0;
  int64_t rows = 0;
  int64_t at = 0;
  int64_t pace = 0;  // lines per segment

  void spread_over(int64_t segments) {
    pace = segments == 0 ? 0 : (lines * rows + segments - 1) / segments;
  }
  SUBKERN_INLINE void fetch() {
    for (int64_t i = 0; i < pace && rows > 0; ++i) {
      __builtin_prefetch(row + at * kLine, 0, 1);
      if (++at == lines) {
        at = 0;
        row += stride;
        --rows;
      }
    }
  }
};

// A tile of a matrix beside C that the next call will read, fetched row by row.
struct UpcomingTile {
  const char* data = nullptr;
  int64_t stride = 0;
  int64_t lines = 0;
  int64_t rows = 0;

  SUBKERN_INLINE void fetch(int64_t row) const {
    if (row >= rows) return;
    for (int64_t l = 0; l < lines; ++l) __builtin_prefetch(data + row * stride + l * kLine, 0, 3);
  }
};

struct Prefetches {
  Upcoming basis, streamed;
  UpcomingTile C, X;
};

int64_t bytes_of(Dtype dtype) { return dtype == kFloat32 ? 4 : 2; }

template <class T>
T* at(T* data, Dtype dtype, int64_t index);
template <>
const void* at(const void* data, Dtype dtype, int64_t index) {
  return static_cast<const char*>(data) + index * bytes_of(dtype);
}
template <>
void* at(void* data, Dtype dtype, int64_t index) {
  return static_cast<char*>(data) + index * bytes_of(dtype);
}

UpcomingTile upcoming_tile(const Panel& panel, int64_t i, int64_t j, int64_t rows) {
  if (panel.data == nullptr || panel.col_stride != 1) return {};
  const int64_t size = bytes_of(panel.dtype);
  const void* data = at<const void>(panel.data, panel.dtype, i * panel.row_stride + j);
  return {static_cast<const char*>(data), panel.row_stride * size,
          (kPackCols * size + kLine - 1) / kLine, rows};
}

// sums (kPackCols per row) = a b over `depth` terms; a holds kPackRows values per term.
template <int kRows>
void multiply(int64_t depth, const float* a, const float* b, float* sums, Prefetches& next) {
  Vec tile[kRows][2];
  for (int i = 0; i < kRows; ++i) tile[i][0] = tile[i][1] = zero();
  for (int segment = 0; segment < kSegments; ++segment) {
    next.C.fetch(segment);
    next.X.fetch(segment);
    next.basis.fetch();
    next.streamed.fetch();
    const int64_t end = depth * (segment + 1) / kSegments;
    for (int64_t p = depth * segment / kSegments; p < end; ++p, a += kPackRows, b += kPackCols) {
      const Vec b0 = load(b, All{}), b1 = load(b + kWidth, All{});
      for (int i = 0; i < kRows; ++i) {
        const Vec left = splat(a[i]);
        tile[i][0] = fma(left, b0, tile[i][0]);
        tile[i][1] = fma(left, b1, tile[i][1]);
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    store(sums + i * kPackCols, tile[i][0], All{});
    store(sums + i * kPackCols + kWidth, tile[i][1], All{});
  }
}

template <int kRows>
SUBKERN_INLINE void multiply_rows(int64_t rows, int64_t depth, const float* a, const float* b,
                                  float* sums, Prefetches& next) {
  if (rows == kRows) {
    multiply<kRows>(depth, a, b, sums, next);
  } else if constexpr (kRows > 1) {
    multiply_rows<kRows - 1>(rows, depth, a, b, sums, next);
  }
}

// C = sums, or C += sums after the first block of terms.
void put(const ProductJob& job, const float* sums, float* C, int64_t rows, int64_t cols,
         bool first) {
  for (int64_t i = 0; i < rows; ++i, sums += kPackCols, C += job.C.row_stride) {
    for_vectors(cols, [&](int64_t j, auto lanes) {
      const Vec sum_here = load(sums + j, All{});
      store(C + j, first ? sum_here : add(load(C + j, lanes), sum_here), lanes);
    });
  }
}

struct NoX {};
SUBKERN_INLINE const NoX* advance(const NoX* none, int64_t) { return none; }
template <class T>
SUBKERN_INLINE T* advance(T* data, int64_t elements) {
  return data + elements;
}
template <class Lanes>
SUBKERN_INLINE Vec plus_scaled(Vec so_far, Vec, const NoX*, Lanes) {
  return so_far;
}
template <class T, class Lanes>
SUBKERN_INLINE Vec plus_scaled(Vec so_far, Vec coef, const T* x, Lanes lanes) {
  return fma(coef, load(x, lanes), so_far);
}

// W = decay W + sums + coef X. Without unit column strides each element is a row of one.
template <class TW, class TX>
void update(const ProductJob& job, const float* sums, TW* W, const TX* X, const float* coef,
            int64_t rows, int64_t cols) {
  const Vec decay = splat(job.decay);
  const bool per_column = job.coef_axis == 1;
  const bool unit = job.C.col_stride == 1 && (job.X.data == nullptr || job.X.col_stride == 1);
  for (int64_t i = 0; i < rows; ++i, sums += kPackCols) {
    const Vec row_coef = splat(coef != nullptr && !per_column ? coef[i] : 0.0f);
    for (int64_t from = 0; from < cols; from += unit ? cols : 1) {
      TW* w = W + i * job.C.row_stride + from * job.C.col_stride;
      const TX* x = advance(X, i * job.X.row_stride + from * job.X.col_stride);
      for_vectors(unit ? cols : 1, [&](int64_t j, auto lanes) {
        const Vec c = coef != nullptr && per_column ? load(coef + from + j, lanes) : row_coef;
        const Vec decayed = fma(decay, load(w + j, lanes), load(sums + from + j, lanes));
        store(w + j, plus_scaled(decayed, c, advance(x, j), lanes), lanes);
      });
    }
  }
}

// What becomes of the sums of one tile at (i, j) of C.
void finish(const ProductJob& job, const float* sums, int64_t i, int64_t rows, int64_t j,
            int64_t cols, bool first) {
  void* C = at(job.C.data, job.C.dtype, i * job.C.row_stride + j * job.C.col_stride);
  if (!job.update) {
    put(job, sums, static_cast<float*>(C), rows, cols, first);
    return;
  }
  with_type(C, job.C.dtype, [&](auto* W) {
    if (job.X.data == nullptr) {
      update(job, sums, W, static_cast<const NoX*>(nullptr), nullptr, rows, cols);
      return;
    }
    const void* X =
        at<const void>(job.X.data, job.X.dtype, i * job.X.row_stride + j * job.X.col_stride);
    const float* coef = job.coef + (job.coef_axis == 1 ? j : i);
    with_type(X, job.X.dtype, [&](auto* x) { update(job, sums, W, x, coef, rows, cols); });
  });
}

// Where the block of the streamed factor lies that will be packed after this one.
Upcoming next_block(const Factor& f, int64_t from, int64_t count, int64_t begin, int64_t depth) {
  if (count <= 0 || depth <= 0 || (f.stride != 1 && f.sum_stride != 1)) return {};
  const int64_t size = bytes_of(f.dtype);
  const void* data = at<const void>(f.data, f.dtype, from * f.stride + begin * f.sum_stride);
  const bool along_sum = f.stride != 1;
  const int64_t stride = along_sum ? f.stride : f.sum_stride;
  const int64_t width = along_sum ? depth : count;
  return {static_cast<const char*>(data), stride * size, (width * size + kLine - 1) / kLine,
          along_sum ? count : depth};
}

}  // namespace

int64_t sk_product_strip(bool rows) { return rows ? kPackRows : kPackCols; }

void sk_product_pack_basis(const ProductJob& job, int64_t strip) {
  const int64_t width = sk_product_strip(job.basis_gives_rows);
  const int64_t strips = (job.basis.size + width - 1) / width, from = strip * width;
  for (int64_t begin = 0; begin < job.depth; begin += job.depth_block) {
    const int64_t depth = smaller(job.depth_block, job.depth - begin);
    float* packed = job.packed + strips * width * begin + strip * width * depth;
    pack_factor(job.basis, job.basis_gives_rows, from, smaller(width, job.basis.size - from), begin,
                depth, packed, nullptr);
  }
}

void sk_product_block(const ProductJob& job, int64_t from, int64_t count, int64_t next_from,
                      int64_t next_count, float* scratch) {
  const bool basis_rows = job.basis_gives_rows;
  const int64_t basis_width = sk_product_strip(basis_rows);
  const int64_t width = sk_product_strip(!basis_rows);
  const int64_t basis_strips = (job.basis.size + basis_width - 1) / basis_width;
  const int64_t strips = (count + width - 1) / width;
  const int64_t tiles = basis_strips * strips;
  double* norms = nullptr;
  if (job.norms != nullptr) {  // in front of the packed block
    norms = reinterpret_cast<double*>(scratch);
    for (int64_t a = 0; a < count; ++a) norms[a] = 0.0;
  }
  float* block = scratch + 2 * strips * width;
  float sums[kPackRows * kPackCols];
  int64_t begin = 0;
  do {  // once even without terms
    const int64_t depth = smaller(job.depth_block, job.depth - begin), end = begin + depth;
    pack_factor(job.streamed, !basis_rows, from, count, begin, depth, block, norms);
    const float* basis = job.packed + basis_strips * basis_width * begin;
    const bool last = end >= job.depth;
    Prefetches next;
    next.streamed =
        next_block(job.streamed, last ? next_from : from, last ? next_count : count, last ? 0 : end,
                   smaller(job.depth_block, last ? job.depth : job.depth - end));
    next.streamed.spread_over(tiles * kSegments);
    for (int64_t s = 0; s < basis_strips; ++s) {
      next.basis = {};
      if (s + 1 < basis_strips) {
        next.basis.row = reinterpret_cast<const char*>(basis + (s + 1) * basis_width * depth);
        next.basis.lines = basis_width * depth * 4 / kLine;
        next.basis.rows = 1;
        next.basis.spread_over(strips * kSegments);
      }
      for (int64_t t = 0; t < strips; ++t) {
        // The tile after this one: its part of C and X is fetched meanwhile.
        const int64_t s2 = t + 1 < strips ? s : s + 1, t2 = t + 1 < strips ? t + 1 : 0;
        next.C = next.X = {};
        if (s2 < basis_strips && (job.update || begin > 0)) {
          const int64_t i = basis_rows ? s2 * basis_width : from + t2 * width;
          const int64_t j = basis_rows ? from + t2 * width : s2 * basis_width;
          const int64_t stop = basis_rows ? job.basis.size : from + count;
          next.C = upcoming_tile(job.C, i, j, smaller(kPackRows, stop - i));
          if (job.update) next.X = upcoming_tile(job.X, i, j, smaller(kPackRows, stop - i));
        }
        const int64_t basis_left = smaller(basis_width, job.basis.size - s * basis_width);
        const int64_t left = smaller(width, count - t * width);
        const float* b = basis + s * basis_width * depth;
        const float* x = block + t * width * depth;
        const int64_t rows = basis_rows ? basis_left : left;
        multiply_rows<kPackRows>(rows, depth, basis_rows ? b : x, basis_rows ? x : b, sums, next);
        finish(job, sums, basis_rows ? s * basis_width : from + t * width, rows,
               basis_rows ? from + t * width : s * basis_width, basis_rows ? left : basis_left,
               begin == 0);
      }
    }
    begin = end;
  } while (begin < job.depth);
  for (int64_t a = 0; norms != nullptr && a < count; ++a) {
    job.norms[from + a] = static_cast<float>(norms[a]);
  }
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
