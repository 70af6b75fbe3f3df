// The normal operator of Cartesian multi-coil imaging: N v = sum_c conj(S_c) F^-1 w F S_c v, and
// whole solves of (I + gamma N) x = b where N leaves image rows independent.
#pragma once

#include "subkern/types.h"

namespace subkern {

// Images of h x w complex numbers. Under a line mask F acts along the last axis and weights are
// (weight_sets, w); under a plane mask along both, and they are (weight_sets, h, w). Image i has
// maps i mod map_sets and weights i mod weight_sets.
struct SenseShape {
  bool line;
  int64_t images, map_sets, weight_sets, coils, h, w;
};

// Floats of what the kernels make of maps and weights, and bytes of scratch of a call.
int64_t sense_pack_floats(const SenseShape& shape);
int64_t sense_workspace(const SenseShape& shape, int threads);

// maps: map_sets x coils x h x w complex; weights: in the order of frequencies, zero first.
void sk_sense_pack(const SenseShape& shape, const float* maps, const float* weights, float* packed,
                   int threads);

struct SenseNormal {
  SenseShape shape;
  const float* v;       // images x h x w complex
  const float* gamma;   // images: out = v + gamma N v; or nullptr: out = N v
  const float* packed;  // of sk_sense_pack
  float* out;           // like v
  double* dot;          // <v, out>: of each row under a line mask, else of each image
  void* workspace;      // sense_workspace() bytes
};
void sk_sense_normal(const SenseNormal& call, int threads);

struct SenseSolve {
  SenseShape shape;  // of a line mask
  const float* rhs;
  const float* start;  // or nullptr: zero
  const float* gamma;  // or nullptr: H = N
  const float* packed;
  bool prox;  // H x = start + gamma rhs, started at start; else H x = rhs
  int64_t maxiter;
  float* x;
  double* rr;  // squared residual norm of each row, as the next two
  int32_t* iterations;
  int32_t* status;
  void* workspace;
};
void sk_sense_solve(const SenseSolve& call, int threads);

}  // namespace subkern
