// Multi-coil imaging of subkern/sense_normal.h on a CUDA device.
#pragma once

#include "subkern/cuda/types.h"

namespace subkern {

// As SenseShape. `tables` holds what cuda_sense_pack wrote, on the device.
struct CudaSenseMaps {
  bool line;
  int64_t images, map_sets, weight_sets, coils, h, w;
  const void* maps;     // complex
  const float* packed;  // tables and weights
};

struct CudaSenseNormal {
  CudaSenseMaps S;
  const void* v;
  const float* gamma;  // or nullptr
  void* out;
  double* dot;      // of each row
  void* workspace;  // cuda_sense_workspace() bytes
};

struct CudaSenseSolve {
  CudaSenseMaps S;
  const void *rhs, *start;  // start or nullptr
  const float* gamma;       // or nullptr
  bool prox;
  int64_t maxiter;
  void* x;
  double* rr;
  int32_t *iterations, *status;
};

int64_t cuda_sense_pack_floats(bool line, int64_t weight_sets, int64_t h, int64_t w);
// On the host, from weights on the host.
void cuda_sense_pack(bool line, int64_t weight_sets, int64_t h, int64_t w, const float* weights,
                     float* packed);
// Bytes that a plane mask needs for coil images; some coils at a time where they are many.
int64_t cuda_sense_workspace(const CudaSenseMaps& S);

// In order on a stream. Return a status for cuda_status_text.
int cuda_sense_normal(const CudaSenseNormal& call, const CudaQueue& queue, int64_t* launches);
int cuda_sense_solve(const CudaSenseSolve& call, const CudaQueue& queue, int64_t* launches);

}  // namespace subkern
