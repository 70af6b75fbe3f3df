// One tile of C = beta C + A B. Each element is summed over k in blocks of kDepth: within a block
// in order, by one fused multiply-add per term (dot products: in order per lane); the blocks are
// then added to C in order.
#include "kernels.h"
#include "simd.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int64_t kDepth = 256;
constexpr int64_t kPanel = 2 * kWidth;  // columns of the register tile
constexpr int64_t kDotRows = 2;         // rows that dot products serve, and
constexpr int64_t kDotDepth = 4096;     // their terms per block

struct Block {  // the part of the sum in hand
  int64_t begin, depth;
  bool first;
};

// Adds `sums` (first `lanes` valid) to C[0..]; the first block also applies beta.
template <class Lanes>
SUBKERN_INLINE void add_to_c(float* C, int64_t c_col_stride, Vec sums, const Gemm& g,
                             const Block& block, Lanes lanes, int count) {
  float gathered[kWidth] = {};
  float* target = C;
  const bool reads = !block.first || g.beta != 0.0f;
  if (c_col_stride != 1) {
    target = gathered;
    if (reads) {
      for (int j = 0; j < count; ++j) gathered[j] = C[j * c_col_stride];
    }
  }
  if (reads) {
    const Vec before = load(target, lanes);
    sums = block.first ? fma(splat(g.beta), before, sums) : add(before, sums);
  }
  store(target, sums, lanes);
  if (c_col_stride != 1) {
    for (int j = 0; j < count; ++j) C[j * c_col_stride] = gathered[j];
  }
}

// Register tile: kRows x (kVecs vectors). a holds kRows values per k, b one row of it per k.
template <int kRows, int kVecs>
SUBKERN_INLINE void multiply_tile(const float* a, const float* b, int64_t b_stride, float* C,
                                  int64_t rows, int64_t cols, const Gemm& g, const Block& block) {
  Vec sums[kRows][kVecs];
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVecs; ++v) sums[i][v] = zero();
  }
  for (int64_t p = 0; p < block.depth; ++p, a += kRows, b += b_stride) {
    Vec row[kVecs];
    for (int v = 0; v < kVecs; ++v) row[v] = load(b + v * kWidth, All{});
    for (int i = 0; i < kRows; ++i) {
      const Vec left = splat(a[i]);
      for (int v = 0; v < kVecs; ++v) sums[i][v] = fma(left, row[v], sums[i][v]);
    }
  }
  for (int i = 0; i < kRows; ++i) {
    if (i >= rows) break;
    for (int v = 0; v < kVecs; ++v) {
      const int64_t left = cols - v * kWidth;
      float* c = C + i * g.c_row_stride + v * kWidth * g.c_col_stride;
      if (left >= kWidth) {
        add_to_c(c, g.c_col_stride, sums[i][v], g, block, All{}, kWidth);
      } else if (left > 0) {
        const int count = static_cast<int>(left);
        add_to_c(c, g.c_col_stride, sums[i][v], g, block, First{count}, count);
      }
    }
  }
}

// Rows [i, i + rows) of A for the block's k, in strips: kStrip values per k, zeros where none.
template <int kStrip>
void pack_a(const Gemm& g, const Block& block, int64_t i, int64_t rows, float* packed) {
  for (int64_t strip = 0; strip < rows; strip += kStrip) {
    const int64_t valid = smaller(rows - strip, kStrip);
    for (int64_t s = 0; s < kStrip; ++s) {
      const float* a = g.A + (i + strip + s) * g.a_row_stride + block.begin * g.a_col_stride;
      for (int64_t p = 0; p < block.depth; ++p) {
        packed[p * kStrip + s] = s < valid ? a[p * g.a_col_stride] : 0.0f;
      }
    }
    packed += kStrip * block.depth;
  }
}

// Columns [j, j + cols) of B for the block's k, `width` values per k, zeros where none.
void pack_b(const Gemm& g, const Block& block, int64_t j, int64_t cols, int64_t width,
            float* packed) {
  const float* b = g.B + block.begin * g.b_row_stride + j * g.b_col_stride;
  if (g.b_col_stride == 1) {
    for (int64_t p = 0; p < block.depth; ++p) {
      for_vectors(cols, [&](int64_t c, auto lanes) {
        store(packed + p * width + c, load(b + p * g.b_row_stride + c, lanes), All{});
      });
      for (int64_t c = (cols + kWidth - 1) / kWidth * kWidth; c < width; c += kWidth) {
        store(packed + p * width + c, zero(), All{});
      }
    }
    return;
  }
  for (int64_t c = 0; c < width; ++c) {
    for (int64_t p = 0; p < block.depth; ++p) {
      packed[p * width + c] = c < cols ? b[p * g.b_row_stride + c * g.b_col_stride] : 0.0f;
    }
  }
}

// One or two rows of C: wide register tiles, B read in place as long as its rows allow it.
template <int kRows>
void skinny_tile(const Gemm& g, const Block& block, int64_t i, int64_t j, int64_t cols) {
  constexpr int kVecs = kGemmWide[kRows - 1];
  constexpr int64_t kWide = kVecs * kWidth;
  float a[kRows * kDepth];
  float b[kDepth * kPanel];
  pack_a<kRows>(g, block, i, kRows, a);
  float* C = g.C + i * g.c_row_stride;
  for (int64_t c = j; c < j + cols;) {
    const float* in_place = g.B + block.begin * g.b_row_stride + c;
    float* target = C + c * g.c_col_stride;
    const int64_t left = j + cols - c;
    if (g.b_col_stride == 1 && left >= kWide) {
      multiply_tile<kRows, kVecs>(a, in_place, g.b_row_stride, target, kRows, kWide, g, block);
      c += kWide;
    } else if (g.b_col_stride == 1 && left >= kPanel) {
      multiply_tile<kRows, 2>(a, in_place, g.b_row_stride, target, kRows, kPanel, g, block);
      c += kPanel;
    } else {
      const int64_t width = smaller(left, kPanel);
      pack_b(g, block, c, width, kPanel, b);
      multiply_tile<kRows, 2>(a, b, kPanel, target, kRows, width, g, block);
      c += width;
    }
  }
}

void full_tile(const Gemm& g, const Block& block, int64_t i, int64_t rows, int64_t j,
               int64_t cols) {
  constexpr int64_t kRowsPadded = (kGemmRows + kGemmStrip - 1) / kGemmStrip * kGemmStrip;
  float a[kRowsPadded * kDepth];
  float b[kDepth * kPanel];
  pack_a<kGemmStrip>(g, block, i, rows, a);
  for (int64_t c = 0; c < cols; c += kPanel) {
    const int64_t width = smaller(cols - c, kPanel);
    pack_b(g, block, j + c, width, kPanel, b);
    for (int64_t r = 0; r < rows; r += kGemmStrip) {
      multiply_tile<kGemmStrip, 2>(a + r * block.depth, b, kPanel,
                                   g.C + (i + r) * g.c_row_stride + (j + c) * g.c_col_stride,
                                   smaller(rows - r, kGemmStrip), width, g, block);
    }
  }
}

// Few terms per sum: rows of C one after the other, at the pace of memory.
void shallow_tile(const Gemm& g, const Block& block, int64_t i, int64_t rows, int64_t j,
                  int64_t cols) {
  float packed[kGemmShallow * kGemmShallowCols];
  const float* b = g.B + block.begin * g.b_row_stride + j;
  int64_t b_stride = g.b_row_stride;
  if (g.b_col_stride != 1) {
    b_stride = (cols + kWidth - 1) / kWidth * kWidth;
    pack_b(g, block, j, cols, b_stride, packed);
    b = packed;
  }
  for (int64_t r = i; r < i + rows; ++r) {
    const float* a = g.A + r * g.a_row_stride + block.begin * g.a_col_stride;
    float* c_row = g.C + r * g.c_row_stride + j * g.c_col_stride;
    for_vectors(cols, [&](int64_t c, auto lanes) {
      Vec sums = zero();
      for (int64_t p = 0; p < block.depth; ++p) {
        sums = fma(splat(a[p * g.a_col_stride]), load(b + p * b_stride + c, lanes), sums);
      }
      const int count = static_cast<int>(smaller(cols - c, kWidth));
      add_to_c(c_row + c * g.c_col_stride, g.c_col_stride, sums, g, block, lanes, count);
    });
  }
}

// kColumns columns of B against the rows packed in a.
template <int kColumns>
SUBKERN_INLINE void dot_columns(const Gemm& g, const Block& block, const float (*a)[kDotDepth],
                                int64_t i, int64_t rows, int64_t c) {
  const float* b = g.B + block.begin + c * g.b_col_stride;
  for (int64_t r = 0; r < rows; ++r) {
    Vec sums[kColumns];
    for (int s = 0; s < kColumns; ++s) sums[s] = zero();
    for_vectors(block.depth, [&](int64_t p, auto lanes) {
      const Vec left = load(a[r] + p, lanes);
      for (int s = 0; s < kColumns; ++s) {
        sums[s] = fma(left, load(b + s * g.b_col_stride + p, lanes), sums[s]);
      }
    });
    for (int s = 0; s < kColumns; ++s) {
      float* target = g.C + (i + r) * g.c_row_stride + (c + s) * g.c_col_stride;
      add_to_c(target, 1, splat(sum(sums[s])), g, block, First{1}, 1);
    }
  }
}

// Few rows and columns of B contiguous along k: dot products, whose lanes share the sum.
void dot_tile(const Gemm& g, const Block& block, int64_t i, int64_t rows, int64_t j, int64_t cols) {
  float a[kDotRows][kDotDepth];
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = g.A + (i + r) * g.a_row_stride + block.begin * g.a_col_stride;
    for (int64_t p = 0; p < block.depth; ++p) a[r][p] = from[p * g.a_col_stride];
  }
  int64_t c = j;
  for (; c + 4 <= j + cols; c += 4) dot_columns<4>(g, block, a, i, rows, c);
  for (; c < j + cols; ++c) dot_columns<1>(g, block, a, i, rows, c);
}

}  // namespace

void sk_gemm_tile(const Gemm& g, int64_t i, int64_t rows, int64_t j, int64_t cols) {
  const bool dots = g.m <= kDotRows && g.b_row_stride == 1 && g.b_col_stride != 1;
  Block block{0, 0, true};
  do {  // once even for k = 0, where C = beta C
    block.depth = smaller(g.k - block.begin, dots ? kDotDepth : kDepth);
    if (dots) {
      dot_tile(g, block, i, rows, j, cols);
    } else if (g.m == 1) {
      skinny_tile<1>(g, block, i, j, cols);
    } else if (g.m == 2) {
      skinny_tile<2>(g, block, i, j, cols);
    } else if (g.k <= kGemmShallow) {
      shallow_tile(g, block, i, rows, j, cols);
    } else {
      full_tile(g, block, i, rows, j, cols);
    }
    block.begin += block.depth;
    block.first = false;
  } while (block.begin < g.k);
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
