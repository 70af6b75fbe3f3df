// Arguments of multi-coil imaging on a device, and where each part lies in shared memory.
#pragma once

#include "fft_layout.h"

namespace subkern {

constexpr int kSenseThreads = 256;  // of a block, at most; fewer where rows are long
constexpr int kSenseColumns = 8;    // of a block that transforms columns, one for each warp

struct Complex;

// Image i has maps i mod map_sets and weights i mod weight_sets.
struct SenseMaps {
  FftPlan rows, columns;       // along w and along h
  const float* row_tables;     // factors of the stages
  const float* column_tables;  // of a plane mask
  const float* weights;        // by position; of a plane mask column by column
  const Complex* maps;         // map_sets x coils x h x w
  int64_t map_sets, weight_sets;
  int coils, h, w;
};

struct SenseLineArguments {
  SenseMaps S;
  const Complex* v;
  const float* gamma;  // or nullptr: N v
  Complex* out;
  double* dot;  // of each row
};

struct SenseSolveArguments {
  SenseMaps S;
  const Complex *rhs, *start;
  const float* gamma;
  Complex* x;
  double* rr;
  int32_t *iterations, *status;
  int64_t maxiter;
  bool prox;
};

// Coils begin .. begin + count of images from `image` on; hybrid holds what rows became.
struct SensePlaneArguments {
  SenseMaps S;
  const Complex* v;
  const float* gamma;
  Complex* hybrid;  // images x count x h x w
  Complex* out;
  double* dot;  // of each row
  int64_t image;
  int begin, count;
};

// Shared memory of a block that works on rows of w points: offsets in complex numbers.
struct SenseRoom {
  int buffer, tables, points, sums, image, maps, total;
  int points_each;
};

SK_BOTH constexpr int sense_points(int n) { return n + n / 16 + 1; }

// `warps`: each has points and a sum; `images`: whole rows beside them; `staged`: coils whose maps
// are kept.
SK_BOTH inline SenseRoom sense_room(const SenseMaps& S, int warps, int images, int staged) {
  SenseRoom room{};
  room.points_each = sense_points(S.w);
  room.buffer = 0;  // a number of each thread, for sums
  room.tables = kSenseThreads;
  room.points = room.tables + S.rows.floats / 2 + (S.w + 1) / 2;  // and a row of weights
  room.sums = room.points + warps * room.points_each;
  room.image = room.sums + warps * S.w;
  room.maps = room.image + images * S.w;
  room.total = room.maps + staged * S.w;
  return room;
}

}  // namespace subkern
