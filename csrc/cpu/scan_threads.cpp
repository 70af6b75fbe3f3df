// The scan on threads: blocks of all matrices are handed out and added up in their order.
#include <cmath>
#include <cstring>

#include "subkern/scan.h"
#include "work.h"

namespace subkern {
namespace {

struct Block {
  double sum;
  uint32_t largest;
};

}  // namespace

int64_t scan_workspace(int64_t count, int64_t n) {
  return count * blocks_of(n, kScanBlock) * static_cast<int64_t>(sizeof(Block));
}

void sk_scan(const ScanBatch& batch, int threads) {
  const Kernels& kernels = active_kernels();
  const int64_t blocks = blocks_of(batch.n, kScanBlock), tasks = batch.count * blocks;
  Block* const found = static_cast<Block*>(batch.workspace);
#pragma omp parallel for num_threads(team_for(batch.count* batch.n, threads)) schedule(dynamic)
  for (int64_t task = 0; task < tasks; ++task) {
    const int64_t matrix = task / blocks, from = task % blocks * kScanBlock;
    const void* const x = at(batch.X, batch.dtype, matrix * batch.matrix_stride + from);
    kernels.sk_scan_block(x, batch.dtype, std::min(kScanBlock, batch.n - from), &found[task].sum,
                          &found[task].largest);
  }
  for (int64_t matrix = 0; matrix < batch.count; ++matrix) {
    double sum = 0.0;
    uint32_t bits = 0;
    for (int64_t block = 0; block < blocks; ++block) {
      sum += found[matrix * blocks + block].sum;
      bits = std::max(bits, found[matrix * blocks + block].largest);
    }
    float largest;
    std::memcpy(&largest, &bits, sizeof(largest));
    const bool finite = bits < 0x7f800000u;
    double* const results = batch.results + matrix * kScanResults;
    results[0] = finite ? largest : NAN;
    results[1] = finite ? sum : NAN;
    results[2] = finite ? 0.0 : 1.0;
  }
}

}  // namespace subkern
