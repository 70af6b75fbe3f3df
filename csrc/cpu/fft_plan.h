// Transforms of lengths with the factors 2, 3 and 5: their radices, and tables for the stages.
#pragma once

#include <cstdint>

namespace subkern {

constexpr int64_t kLongestFft = 1024;
constexpr int kMostFftStages = 8;

// Decimation in frequency: stage s splits blocks of `length[s]` into `radix[s]` parts.
struct FftPlan {
  int stages = 0;
  int radix[kMostFftStages];
  int length[kMostFftStages];
  int table[kMostFftStages];  // first float of the stage's factors
  int floats = 0;             // of all tables
};

// Whether a length has a plan.
bool fft_serves(int64_t n);

// The plan of a length that fft_serves, with radices up to `most` (4 or 8) for powers of two: few
// stages, each of which reads and writes everything.
FftPlan fft_plan(int64_t n, int most);

// Factors exp(-2 pi i j k / length) of every stage, by j and then k = 1, 2, ...
void fft_tables(const FftPlan& plan, float* tables);

// The frequency that the transform leaves at a position.
int fft_frequency(const FftPlan& plan, int position);

}  // namespace subkern
