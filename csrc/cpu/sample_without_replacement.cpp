// One row of weights: candidates whose weight over noise beats the k-th best so far, thinned out
// whenever there are too many. The logarithm is taken of candidates alone, and nothing is sorted.
#include <cstdint>

#include "kernels.h"
// After the types: they use them.
#include "philox.h"
#include "sample_key.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

constexpr int kLeast = -0x7fffffff - 1;  // below every key

// Counts the positive weights of a row; false if one is negative or a NaN.
template <class T>
bool survey(const T* w, int64_t n, int64_t& positive) {
  Mask bad = nowhere();
  positive = 0;
  for_vectors(n, [&](int64_t i, auto lanes) {
    const Ivec x = bits(load(w + i, lanes));
    const Mask negative = both(igreater(isplat(0), x), igreater(x, isplat(0x80000000u)));
    bad = either(bad, either(negative, igreater(x, isplat(kInfinity))));
    positive += popcount(igreater(x, isplat(0)));
  });
  return !any(bad);
}

class Candidates {
 public:
  Candidates(const SampleScratch& scratch, int64_t capacity, int64_t take)
      : a_(scratch), most_(capacity - 2 * kSampleStep), take_(take) {}

  // The lanes of m: bits of weights, noise, and columns from `column` on.
  SUBKERN_INLINE void add(Mask m, Ivec weight, Vec noise, int64_t column) {
    compress(a_.keys + count_, weight, m);
    compress(reinterpret_cast<int32_t*>(a_.noise) + count_, bits(noise), m);
    compress(a_.where + count_, iadd(iota(), isplat(static_cast<uint32_t>(column))), m);
    count_ += popcount(m);
  }

  bool full() const { return count_ > most_; }
  int64_t count() const { return count_; }

  // Keeps the best `take` and at most `more` beside them, in their order. Returns a key that none
  // of the kept is below: who comes later must be above it.
  int32_t thin(int64_t more) {
    for (; keyed_ < count_; keyed_ += kWidth) {
      const Vec v = load(a_.noise + keyed_, All{});
      istore(a_.keys + keyed_, key_of(iload(a_.keys + keyed_), v));
    }
    int32_t least = kLeast;
    if (count_ > take_) {
      int64_t reached;
      least = threshold(more, reached);
      reached <= take_ + more ? keep(least) : keep_first(least);
    }
    keyed_ = count_;
    return least;
  }

 private:
  // A number that `take` keys reach and at most `more` others, or else the best one's that is
  // reached by `take`; `reached` says by how many.
  int32_t threshold(int64_t more, int64_t& reached) {
    pad(a_.keys[0]);
    Ivec low = iload(a_.keys), high = low;
    for (int64_t i = 0; i < count_; i += kWidth) {
      low = imin(low, iload(a_.keys + i));
      high = imax(high, iload(a_.keys + i));
    }
    pad(kLeast);
    int32_t lows[kWidth], highs[kWidth];
    istore(lows, low);
    istore(highs, high);
    int64_t lo = lows[0], hi = highs[0];
    for (int i = 1; i < kWidth; ++i) {
      lo = lows[i] < lo ? lows[i] : lo;
      hi = highs[i] > hi ? highs[i] : hi;
    }
    reached = count_;  // of lo; hi is out of reach for `take`
    for (++hi; hi - lo > 1 && reached > take_ + more;) {
      const int64_t middle = lo + (hi - lo) / 2, found = above(static_cast<int32_t>(middle - 1));
      if (found >= take_) {
        lo = middle;
        reached = found;
      } else {
        hi = middle;
      }
    }
    return static_cast<int32_t>(lo);
  }

  int64_t above(int32_t key) const {
    const Ivec limit = isplat(static_cast<uint32_t>(key));
    int64_t found = 0;
    for (int64_t i = 0; i < count_; i += kWidth) {
      found += popcount(igreater(iload(a_.keys + i), limit));
    }
    return found;
  }

  // Drops what is below `least`.
  void keep(int32_t least) {
    const Ivec limit = isplat(static_cast<uint32_t>(least) - 1);
    int64_t to = 0;
    for (int64_t i = 0; i < count_; i += kWidth) {
      const Ivec keys = iload(a_.keys + i), columns = iload(a_.where + i);
      const Mask m = igreater(keys, limit);
      compress(a_.keys + to, keys, m);
      compress(a_.where + to, columns, m);
      to += popcount(m);
    }
    count_ = to;
  }

  // Of several that equal the last one's key the first are kept.
  void keep_first(int32_t least) {
    int64_t equals = take_ - above(least), to = 0;
    for (int64_t i = 0; i < count_; ++i) {
      if (a_.keys[i] < least || (a_.keys[i] == least && equals-- <= 0)) continue;
      a_.keys[to] = a_.keys[i];
      a_.where[to++] = a_.where[i];
    }
    count_ = to;
  }

  // What follows the last candidate, up to the end of its vector.
  void pad(int32_t key) { istore(a_.keys + count_, isplat(static_cast<uint32_t>(key))); }

  SampleScratch a_;
  int64_t most_, take_, count_ = 0, keyed_ = 0;
};

// The noise of columns [from, from + kSampleStep).
SUBKERN_INLINE void fill(const Philox& philox, int64_t from, float* noise) {
  constexpr int kCounters = kSampleGroup / 4;  // of a group
  const Ivec first = iadd(iota(), isplat(static_cast<uint32_t>(from / 4)));
  for (int c = 0; c < 2 * kCounters; c += 2 * kWidth) {
    const Ivec counters[] = {iadd(first, isplat(c)), iadd(first, isplat(c + kWidth))};
    Ivec words[2][4];
    philox(counters, words);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const int own = c + i * kWidth;
      float* const group = noise + own / kCounters * kSampleGroup + own % kCounters;
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) store(group + kCounters * j, noise_of(words[i][j]), All{});
    }
  }
}

template <class T>
int32_t sample(const T* w, const SampleRow& row, const SampleScratch& scratch, int64_t* taken) {
  int64_t positive;
  if (!survey(w, row.n, positive)) return kSampleInvalid;
  const int64_t take = smaller(row.k, positive);
  Candidates candidates(scratch, sample_capacity(row.n, row.k), take);
  const Philox philox(row.seed, static_cast<uint32_t>(row.offset),
                      static_cast<uint32_t>(row.offset >> 32), row.row);
  Vec limit = zero();
  for (int64_t from = 0; take > 0 && from < row.n; from += kSampleStep) {
    alignas(64) float noise[kSampleStep];
    fill(philox, from, noise);
    for_vectors(smaller(kSampleStep, row.n - from), [&](int64_t i, auto lanes) {
      const Ivec weight = bits(load(w + from + i, lanes));
      const Vec v = load(noise + i, All{});
      // Bits of floats that are not negative have their order, subnormal ones included.
      const Mask m = igreater(weight, bits(mul(limit, v)));
      if (any(m)) candidates.add(m, weight, v, from + i);
    });
    if (candidates.full()) limit = splat(least_quotient(candidates.thin(take / 8)));
  }
  candidates.thin(0);
  *taken = candidates.count();
  return positive < row.k ? kSampleShort : 0;
}

}  // namespace

int32_t sk_sample_row(const SampleRow& row, const SampleScratch& scratch, int64_t* taken) {
  int32_t info = 0;
  with_type(row.weights, row.dtype,
            [&](auto* weights) { info = sample(weights, row, scratch, taken); });
  return info;
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
