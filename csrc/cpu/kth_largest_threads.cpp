// The k-th largest: a sample brackets it, one read of all numbers counts what is above and packs
// what is between, and that is selected from. Where the bracket misses or holds too much,
// histograms of 11, 11 and 10 bits of all keys give the answer.
#include <omp.h>

#include <atomic>

#include "select_floats.h"
#include "subkern/kth_largest.h"
#include "work.h"

namespace subkern {
namespace {

struct BlockFound {
  BracketCounts counts;
  int64_t at;  // of its packed numbers
};

struct Layout {
  int64_t blocks, sample, stride, packed, total;
  // Offsets in bytes, multiples of 64.
  int64_t found, samples, packs, spaces, scratch, bins;

  Layout(int64_t n, int threads) : blocks(blocks_of(n, kSelectBlock)) {
    // A larger sample costs as much as it saves at n^(2/3).
    sample = n <= kSelectBlock
                 ? 0
                 : std::min<int64_t>(32768,
                                     static_cast<int64_t>(0.5 * std::cbrt(static_cast<double>(n)) *
                                                          std::cbrt(static_cast<double>(n))));
    stride = sample > 0 ? n / sample : 1;
    packed = n / 16 + 4 * kSelectBlock;
    int64_t end = 0;
    const auto take = [&end](int64_t bytes) {
      const int64_t at = end;
      end += (bytes + 63) / 64 * 64;
      return at;
    };
    found = take(blocks * static_cast<int64_t>(sizeof(BlockFound)));
    samples = take(4 * sample);
    packs = take(4 * (packed + kSelectPad));
    spaces = take(4 * (std::max(packed, sample) + kSelectPad));
    scratch = take(threads * scratch_bytes());
    bins = take(threads * bins_bytes());
    total = end;
  }

  static int64_t scratch_bytes() { return 4 * (kSelectBlock + 16); }
  static int64_t bins_bytes() { return 8 * kSelectBins; }
};

// The address of a score, for what must be asked for ahead.
const char* address_of(const Scores& s, int64_t i) {
  return static_cast<const char*>(s.x) + i * (s.dtype == kFloat32 ? 4 : 2);
}

float sampled(const Scores& s, int64_t i) {
  float x;
  if (s.dtype == kFloat32) {
    x = static_cast<const float*>(s.x)[i];
  } else {
    const uint32_t pattern = static_cast<uint32_t>(static_cast<const uint16_t*>(s.x)[i]) << 16;
    std::memcpy(&x, &pattern, sizeof(x));
  }
  switch (s.ordering) {
    case kPlain:
      return x;
    case kMagnitude:
      return std::fabs(x);
    case kInside:
      return s.mask[i] == 0 ? NAN : std::isnan(x) ? kInfinity : -x;
    case kOutside:
      return s.mask[i] != 0 ? NAN : std::isnan(x) ? -kInfinity : x;
  }
  return x;
}

class Selection {
 public:
  Selection(const Scores& scores, int64_t n, int64_t count, int64_t k, void* workspace, int threads)
      : scores_(scores),
        n_(n),
        count_(count),
        k_(k),
        threads_(team_for(n, threads)),
        layout_(n, threads),
        base_(static_cast<char*>(workspace)) {}

  Kth run(BlockCounts* blocks) {
    const Bracket b = bracket();
    BracketCounts c = read_all(b);
    if (b.low == b.high) c.at_low = 0;
    const Place place = place_of(c, k_);
    const int64_t over = c.above + c.at_high, numbers = over + c.inner + c.at_low;
    Kth found;
    if (place == Place::kHigh) {
      found = {b.high, c.above, c.at_high, true};
    } else if (place == Place::kLow) {
      found = {b.low, over + c.inner, c.at_low, true};
    } else if (place == Place::kBetween && c.inner <= layout_.packed) {
      found = select_floats(kernels_, floats(layout_.packs), c.inner, k_ - over,
                            floats(layout_.spaces), layout_.packed + kSelectPad);
      found.above += over;
    } else if (place == Place::kBelow && b.low == -kInfinity) {
      found = {NAN, numbers, count_ - numbers, true};
    } else {
      found = by_all_histograms();
    }
    found.value += 0.0f;  // a zero of either sign is 0
    if (blocks != nullptr) count_blocks(b, found, blocks);
    return found;
  }

 private:
  float* floats(int64_t offset) const { return reinterpret_cast<float*>(base_ + offset); }
  BlockFound* blocks_found() const { return reinterpret_cast<BlockFound*>(base_ + layout_.found); }
  int64_t block_size(int64_t block) const {
    return std::min(kSelectBlock, n_ - block * kSelectBlock);
  }

  Bracket bracket() const {
    constexpr int64_t kAsked = 24;  // reads that wait for memory together
    float* const sample = floats(layout_.samples);
    int64_t size = 0, numbers = 0;
    for (int64_t i = 0; i < layout_.sample; ++i) {
      __builtin_prefetch(address_of(scores_, sample_place(i + kAsked, layout_.stride)));
      const int64_t place = sample_place(i, layout_.stride);
      const float y = sampled(scores_, place);
      sample[numbers] = y;
      numbers += y == y;
      // What is left out is no part of the order; a NaN is its end.
      size += y == y || scores_.mask == nullptr;
    }
    if (size == 0) return {-kInfinity, kInfinity};
    return bracket_by(size, count_, k_, [&](int64_t rank) {
      if (rank > numbers) return -kInfinity;
      return select_floats(kernels_, sample, numbers, rank, floats(layout_.spaces),
                           std::max(layout_.packed, layout_.sample) + kSelectPad)
          .value;
    });
  }

  // Blocks pack their numbers where the shared list has room next: their order does not matter.
  BracketCounts read_all(const Bracket& b) {
    std::atomic<int64_t> next{0};
    BlockFound* const found = blocks_found();
#pragma omp parallel num_threads(threads_)
    {
      float* const own = floats(layout_.scratch + omp_get_thread_num() * Layout::scratch_bytes());
#pragma omp for schedule(dynamic, 4)
      for (int64_t block = 0; block < layout_.blocks; ++block) {
        BracketCounts& c = found[block].counts;
        kernels_.sk_select_bracket(scores_, block * kSelectBlock, block_size(block), b.low, b.high,
                                   own, &c);
        const int64_t at = next.fetch_add(c.inner);
        found[block].at = at;
        if (at + c.inner <= layout_.packed) {
          std::copy(own, own + c.inner, floats(layout_.packs) + at);
        }
      }
    }
    BracketCounts all{};
    for (int64_t block = 0; block < layout_.blocks; ++block) {
      const BracketCounts& c = found[block].counts;
      all.above += c.above;
      all.at_high += c.at_high;
      all.inner += c.inner;
      all.at_low += c.at_low;
    }
    return all;
  }

  Kth by_all_histograms() {
    constexpr int kLower[] = {21, 10, 0}, kUpper[] = {32, 21, 10};
    uint32_t prefix = 0;
    int64_t above = 0, equal = 0;
    for (int level = 0; level < 3; ++level) {
      int64_t* const bins = reinterpret_cast<int64_t*>(base_ + layout_.bins);
      std::fill(bins, bins + threads_ * int64_t{kSelectBins}, 0);
#pragma omp parallel for num_threads(threads_) schedule(static)
      for (int64_t block = 0; block < layout_.blocks; ++block) {
        kernels_.sk_select_bins(scores_, block * kSelectBlock, block_size(block), kUpper[level],
                                prefix, kLower[level],
                                bins + omp_get_thread_num() * int64_t{kSelectBins});
      }
      for (int64_t other = 1; other < threads_; ++other) {
        for (int64_t i = 0; i < kSelectBins; ++i) bins[i] += bins[other * kSelectBins + i];
      }
      const int width = kUpper[level] - kLower[level];
      int64_t bin = (int64_t{1} << width) - 1;
      while (above + bins[bin] < k_) above += bins[bin--];
      equal = bins[bin];
      prefix = prefix << width | static_cast<uint32_t>(bin);
    }
    if (prefix == 0) return {NAN, above, count_ - above, false};
    return {number_of(prefix), above, equal, false};
  }

  // The counts of each block, from what the bracket left of it where that is known.
  void count_blocks(const Bracket& b, const Kth& found, BlockCounts* blocks) {
    const float* const packed = floats(layout_.packs);
    const float value = found.value;
#pragma omp parallel num_threads(threads_)
    {
      float* const own = floats(layout_.scratch + omp_get_thread_num() * Layout::scratch_bytes());
#pragma omp for schedule(static)
      for (int64_t block = 0; block < layout_.blocks; ++block) {
        BracketCounts c = blocks_found()[block].counts;
        if (!found.bracketed) {
          kernels_.sk_select_bracket(scores_, block * kSelectBlock, block_size(block), value, value,
                                     own, &c);
          blocks[block] = {c.above, c.at_high};
        } else if (value == b.high) {
          blocks[block] = {c.above, c.at_high};
        } else if (value == b.low) {
          blocks[block] = {c.above + c.at_high + c.inner, c.at_low};
        } else {
          const Scores between{packed + blocks_found()[block].at, kFloat32, kPlain, nullptr};
          BracketCounts inner;
          kernels_.sk_select_bracket(between, 0, c.inner, value, value, own, &inner);
          blocks[block] = {c.above + c.at_high + inner.above, inner.at_high};
        }
      }
    }
  }

  const Kernels& kernels_ = active_kernels();
  const Scores scores_;
  const int64_t n_, count_, k_;
  const int threads_;
  const Layout layout_;
  char* const base_;
};

}  // namespace

int64_t kth_largest_workspace(int64_t n, int threads) { return Layout(n, threads).total; }

Kth sk_kth_largest(const Scores& scores, int64_t n, int64_t count, int64_t k, BlockCounts* blocks,
                   void* workspace, int threads) {
  return Selection(scores, n, count, k, workspace, threads).run(blocks);
}

}  // namespace subkern
