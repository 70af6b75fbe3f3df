// Radices and tables of transforms; host code, compiled for no instruction set in particular.
#pragma once

#include <cmath>

#include "fft_layout.h"

namespace subkern {

// Whether a length has a plan.
inline bool fft_serves(int64_t n) {
  if (n < 2 || n > kLongestFft) return false;
  constexpr int kPrimes[] = {2, 3, 5};
  for (const int prime : kPrimes) {
    while (n % prime == 0) n /= prime;
  }
  return n == 1;
}

// The plan of a length that fft_serves, with radices up to `most` (4 or 8) for powers of two: few
// stages, each of which reads and writes everything.
inline FftPlan fft_plan(int64_t n, int most) {
  FftPlan plan;
  int twos = 0;
  int64_t rest = n;
  for (; rest % 2 == 0; rest /= 2) ++twos;
  const auto add = [&plan](int radix) { plan.radix[plan.stages++] = radix; };
  if (most == 8) {
    for (; twos >= 3 && twos != 4; twos -= 3) add(8);  // 16 is 4 * 4
  }
  for (; twos >= 2; twos -= 2) add(4);
  if (twos == 1) add(2);
  for (; rest % 3 == 0; rest /= 3) add(3);
  for (; rest % 5 == 0; rest /= 5) add(5);
  int length = static_cast<int>(n);
  for (int s = 0; s < plan.stages; ++s) {
    plan.length[s] = length;
    length /= plan.radix[s];
    plan.table[s] = plan.floats;
    plan.floats += length * (plan.radix[s] - 1) * 2;
  }
  return plan;
}

// Factors exp(-2 pi i j k / length) of every stage, by j and then k = 1, 2, ...
inline void fft_tables(const FftPlan& plan, float* tables) {
  constexpr double kTurn = -6.283185307179586476925;
  for (int s = 0; s < plan.stages; ++s) {
    const int length = plan.length[s], radix = plan.radix[s];
    float* at = tables + plan.table[s];
    for (int j = 0; j < length / radix; ++j) {
      for (int k = 1; k < radix; ++k, at += 2) {
        const double angle = kTurn * (static_cast<int64_t>(j) * k % length) / length;
        at[0] = static_cast<float>(std::cos(angle));
        at[1] = static_cast<float>(std::sin(angle));
      }
    }
  }
}

// The frequency that the transform leaves at a position.
inline int fft_frequency(const FftPlan& plan, int position) {
  int frequency = 0, weight = 1;
  for (int s = 0; s < plan.stages; ++s) {
    const int part = plan.length[s] / plan.radix[s];
    frequency += position / part * weight;
    position %= part;
    weight *= plan.radix[s];
  }
  return frequency;
}

}  // namespace subkern
