// Mask updates on threads: thresholds by selection, then one read that writes mask and lists.
#include <cstring>

#include "subkern/kth_largest.h"
#include "subkern/update_mask.h"
#include "work.h"

namespace subkern {
namespace {

// Counts of both sides per block, then the workspace of a selection.
int64_t counts_bytes(int64_t n) {
  const int64_t bytes = blocks_of(n, kSelectBlock) * static_cast<int64_t>(sizeof(BlockCounts));
  return (2 * bytes + 63) / 64 * 64;
}

// Where the next block's entries go, and the ties that are still to be taken.
struct Cursor {
  int64_t* list;
  int64_t ties;

  Cursor(int64_t* to, const Kth& found, int64_t swaps) : list(to), ties(swaps - found.above) {}

  // Gives the block its place and ties.
  void advance(const BlockCounts& counts, int64_t*& place, int64_t& share) {
    place = list;
    share = std::min(ties, counts.equal);
    ties -= share;
    list += counts.above + share;
  }
};

}  // namespace

int64_t mask_count(const uint8_t* mask, int64_t n, int threads) {
  const Kernels& kernels = active_kernels();
  int64_t total = 0;
#pragma omp parallel for num_threads(team_for(n / 8, threads)) reduction(+ : total)
  for (int64_t block = 0; block < blocks_of(n, kSelectBlock); ++block) {
    const int64_t from = block * kSelectBlock;
    total += kernels.sk_mask_count(mask + from, std::min(kSelectBlock, n - from));
  }
  return total;
}

int64_t update_mask_workspace(int64_t n, int threads) {
  return counts_bytes(n) + blocks_of(n, kSelectBlock) * static_cast<int64_t>(sizeof(SwapBlock)) +
         64 + kth_largest_workspace(n, threads);
}

void sk_update_mask(const MaskSwap& s, void* workspace, int threads) {
  if (s.swaps == 0) {
    if (s.n > 0) std::memcpy(s.updated, s.mask, static_cast<std::size_t>(s.n));
    return;
  }
  const Kernels& kernels = active_kernels();
  const int64_t blocks = blocks_of(s.n, kSelectBlock);
  char* const base = static_cast<char*>(workspace);
  BlockCounts* const leaving = reinterpret_cast<BlockCounts*>(base);
  BlockCounts* const entering = leaving + blocks;
  char* const selection = base + counts_bytes(s.n);
  SwapBlock* const work = reinterpret_cast<SwapBlock*>(
      selection + (kth_largest_workspace(s.n, threads) + 63) / 64 * 64);
  const Kth leave = sk_kth_largest({s.score_remove, s.dtype, kInside, s.mask}, s.n, s.inside,
                                   s.swaps, leaving, selection, threads);
  const Kth enter = sk_kth_largest({s.score_add, s.dtype, kOutside, s.mask}, s.n, s.n - s.inside,
                                   s.swaps, entering, selection, threads);
  Cursor out(s.removed, leave, s.swaps), in(s.added, enter, s.swaps);
  for (int64_t block = 0; block < blocks; ++block) {
    SwapBlock& b = work[block];
    b.from = block * kSelectBlock;
    b.n = std::min(kSelectBlock, s.n - b.from);
    b.leave = leave.value;
    b.enter = enter.value;
    out.advance(leaving[block], b.removed, b.leave_ties);
    in.advance(entering[block], b.added, b.enter_ties);
  }
#pragma omp parallel for num_threads(team_for(s.n, threads)) schedule(dynamic, 4)
  for (int64_t block = 0; block < blocks; ++block) kernels.sk_swap_block(s, work[block]);
}

}  // namespace subkern
