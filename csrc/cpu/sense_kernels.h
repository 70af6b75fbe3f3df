// Multi-coil imaging of an instruction-set variant: single-threaded, for a strip of kWidth rows,
// whose numbers lie as [w][re, im][kWidth].
#pragma once

#include "../cuda/fft_layout.h"
#include "subkern/sense_normal.h"

namespace subkern {

// A strip of one image under a line mask, and what acts on it.
struct SenseLines {
  const FftPlan* plan;
  const float* tables;
  const float* weights;  // by position
  const float* maps;     // of all coils, strip by strip: coil_stride floats apart
  int64_t coils, coil_stride;
  int64_t rows, w;  // rows of the strip that exist
  bool shifted;     // H = I + gamma N, else N
  float gamma;      // 1 where there is none
  float* scratch;   // three strips; a solve takes five
};

// The system of every row: see SenseSolve. Rows lie row_stride floats apart.
struct SenseLineSolve {
  SenseLines lines;
  const float *rhs, *start;
  float* x;
  int64_t row_stride;
  bool prox;
  int64_t maxiter;
  double* rr;
  int32_t *iterations, *status;
};

// One coil of a plane, strips in place: between the passes the numbers are transforms of rows.
struct SensePlane {
  const FftPlan *row_plan, *column_plan;
  const float *row_tables, *column_tables;
  int64_t h, w, padded_w;  // whole strips of columns
  float* hybrid;           // strips of the coil, padded_w points each
};

#define SUBKERN_SENSE_KERNELS(KERNEL)                                                            \
  /* Rows that a strip holds, and the largest radix. */                                          \
  KERNEL(int, sk_sense_lanes, ())                                                                \
  KERNEL(int, sk_sense_radix, ())                                                                \
  /* Floats of rows, stride apart, to strip[i][lane] and back; missing rows are zero. */         \
  KERNEL(void, sk_sense_enter,                                                                   \
         (const float* rows, int64_t stride, int64_t count, int64_t floats, float* strip))       \
  KERNEL(void, sk_sense_leave,                                                                   \
         (const float* strip, int64_t stride, int64_t count, int64_t floats, float* rows))       \
  /* out = H v of a strip's rows, and <v, out> of each. */                                       \
  KERNEL(void, sk_sense_lines,                                                                   \
         (const SenseLines& lines, const float* v, float* out, int64_t row_stride, double* dot)) \
  KERNEL(void, sk_sense_line_solve, (const SenseLineSolve& call))                                \
  /* A strip of coil images S v, transformed along rows. */                                      \
  KERNEL(void, sk_sense_rows,                                                                    \
         (const SensePlane& plane, int64_t strip, const float* v, const float* maps))            \
  /* kWidth columns: transformed, weighted and transformed back. */                              \
  KERNEL(void, sk_sense_columns,                                                                 \
         (const SensePlane& plane, int64_t group, const float* weights, float* scratch))         \
  /* A strip transformed back along rows; sum += conj(S) of it. */                               \
  KERNEL(void, sk_sense_gather,                                                                  \
         (const SensePlane& plane, int64_t strip, const float* maps, float* sum))                \
  /* sum = v + gamma sum (or gamma sum) of a strip; <v, sum> of its rows together. */            \
  KERNEL(double, sk_sense_finish,                                                                \
         (const float* v, int64_t points, bool shifted, float gamma, float* sum))

}  // namespace subkern
