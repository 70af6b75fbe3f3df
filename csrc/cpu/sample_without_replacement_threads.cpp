// Sampling on threads: rows are handed out, then the rows that the samples gather.
#include <omp.h>

#include <algorithm>
#include <cstring>

#include "subkern/sample_without_replacement.h"
#include "work.h"

namespace subkern {
namespace {

constexpr int64_t kLine = 64;         // bytes: what a gather of columns reads and writes at a time
constexpr int64_t kGathered = 16384;  // bytes of a task

float weight_at(const SampleBatch& batch, int64_t row, int64_t column) {
  const void* const place = at(batch.weights, batch.dtype, row * batch.row_stride + column);
  if (batch.dtype == kFloat32) return *static_cast<const float*>(place);
  const uint32_t bits = static_cast<uint32_t>(*static_cast<const uint16_t*>(place)) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof(wide));
  return wide;
}

// Keys fall, and among equals columns ascend: the smallest of (not key, column).
void order(const SampleScratch& scratch, int64_t taken, int64_t* idx) {
  for (int64_t i = 0; i < taken; ++i) {
    const uint32_t falling = ~(static_cast<uint32_t>(scratch.keys[i]) ^ 0x80000000u);
    const uint64_t both = uint64_t{falling} << 32 | static_cast<uint32_t>(scratch.where[i]);
    idx[i] = static_cast<int64_t>(both ^ uint64_t{1} << 63);
  }
  std::sort(idx, idx + taken);
  for (int64_t i = 0; i < taken; ++i) idx[i] &= 0xffffffff;
}

void sample_row(const Kernels& kernels, const SampleBatch& batch, int64_t row,
                const SampleScratch& scratch) {
  const SampleRow one{at(batch.weights, batch.dtype, row * batch.row_stride),
                      batch.dtype,
                      batch.n,
                      batch.k,
                      batch.seed,
                      batch.offset,
                      static_cast<uint32_t>(row)};
  int64_t taken = 0;
  int64_t* const idx = batch.idx + row * batch.k;
  batch.info[row] = kernels.sk_sample_row(one, scratch, &taken);
  if (batch.info[row] == kSampleInvalid) {
    std::fill(idx, idx + batch.k, -1);
    return;
  }
  if (batch.sorted) {
    std::copy(scratch.where, scratch.where + taken, idx);
  } else {
    order(scratch, taken, idx);
  }
  int64_t filled = taken;
  for (int64_t column = 0; filled < batch.k; ++column) {
    if (weight_at(batch, row, column) == 0.0f) idx[filled++] = column;
  }
  if (batch.sorted) std::inplace_merge(idx, idx + taken, idx + batch.k);
}

// Rows [from, to) of what row `row` of the batch gathers.
template <class Item>
void gather(const SampleGather& g, const SampleBatch& batch, int64_t row, int64_t from,
            int64_t to) {
  const int64_t* const idx = batch.idx + row * batch.k;
  const Item* const source = static_cast<const Item*>(g.source) + row * g.batch_stride;
  Item* const out = static_cast<Item*>(g.out) + row * batch.k * g.width;
  if (batch.info[row] == kSampleInvalid) {
    std::memset(static_cast<void*>(out + from * g.width), 0, (to - from) * g.width * sizeof(Item));
    return;
  }
  if (g.col_stride == 1) {
    for (int64_t i = from; i < to; ++i) {
      const Item* const x = source + idx[i] * g.row_stride;
      std::memcpy(static_cast<void*>(out + i * g.width), x, g.width * sizeof(Item));
    }
    return;
  }
  constexpr int64_t kRun = std::max<int64_t>(1, kLine / sizeof(Item));
  for (int64_t column = 0; column < g.width; column += kRun) {
    const int64_t run = std::min(kRun, g.width - column);
    for (int64_t i = from; i < to; ++i) {
      const Item* const x = source + idx[i] * g.row_stride + column * g.col_stride;
      for (int64_t c = 0; c < run; ++c) out[i * g.width + column + c] = x[c * g.col_stride];
    }
  }
}

struct Wide {
  uint64_t words[2];
};

void gather_any(const SampleGather& g, const SampleBatch& batch, int64_t row, int64_t from,
                int64_t to) {
  switch (g.item_size) {
    case 1:
      return gather<uint8_t>(g, batch, row, from, to);
    case 2:
      return gather<uint16_t>(g, batch, row, from, to);
    case 4:
      return gather<uint32_t>(g, batch, row, from, to);
    case 8:
      return gather<uint64_t>(g, batch, row, from, to);
    default:
      return gather<Wide>(g, batch, row, from, to);
  }
}

void gather_all(const SampleGather& g, const SampleBatch& batch, int threads) {
  const int64_t bytes = std::max<int64_t>(1, g.width * g.item_size);
  const int64_t rows = std::max<int64_t>(1, kGathered / bytes);
  const int64_t tasks = blocks_of(batch.k, rows), elements = batch.count * batch.k * g.width;
#pragma omp parallel for schedule(dynamic) num_threads(team_for(elements, threads))
  for (int64_t task = 0; task < batch.count * tasks; ++task) {
    const int64_t from = task % tasks * rows;
    gather_any(g, batch, task / tasks, from, std::min(batch.k, from + rows));
  }
}

}  // namespace

int64_t sample_workspace(int64_t n, int64_t k, int threads) {
  return 3 * 4 * threads * sample_capacity(n, k);
}

void sk_sample(const SampleBatch& batch, const SampleGather* gathers, int64_t gather_count,
               void* workspace, int threads) {
  const Kernels& kernels = active_kernels();
  const int64_t capacity = sample_capacity(batch.n, batch.k);
  int32_t* const space = static_cast<int32_t*>(workspace);
#pragma omp parallel num_threads(team_for(batch.count* batch.n, threads))
  {
    int32_t* const own = space + 3 * capacity * omp_get_thread_num();
    const SampleScratch scratch{own, reinterpret_cast<float*>(own + capacity), own + 2 * capacity};
#pragma omp for schedule(dynamic)
    for (int64_t row = 0; row < batch.count; ++row) sample_row(kernels, batch, row, scratch);
  }
  for (int64_t i = 0; i < gather_count; ++i) gather_all(gathers[i], batch, threads);
}

}  // namespace subkern
