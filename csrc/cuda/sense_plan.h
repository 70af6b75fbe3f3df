// The launches of multi-coil imaging, and what they read beside maps: tables and weights by
// position.
#pragma once

#include <algorithm>

#include "fft_plan.h"
#include "launch_plan.h"
#include "sense_layout.h"
#include "subkern/cuda/sense_normal.h"

namespace subkern {

constexpr int kSenseRadix = 8;
constexpr int64_t kSenseChunk = int64_t{24} << 20;  // bytes of coil images that a cache keeps

struct SenseLineKernel {
  static constexpr const char* kHeader = "sense_normal.cuh";
  static std::string name() { return "sense_line_kernel"; }
};
struct SenseRowsKernel {
  static constexpr const char* kHeader = "sense_normal.cuh";
  static std::string name() { return "sense_rows_kernel"; }
};
struct SenseColumnsKernel {
  static constexpr const char* kHeader = "sense_normal.cuh";
  static std::string name() { return "sense_columns_kernel"; }
};
struct SenseGatherKernel {
  static constexpr const char* kHeader = "sense_normal.cuh";
  static std::string name() { return "sense_gather_kernel"; }
};
template <bool kStaged>
struct SenseSolveKernel {
  static constexpr const char* kHeader = "sense_solve.cuh";
  static std::string name() {
    return std::string("sense_solve_kernel<") + (kStaged ? "true>" : "false>");
  }
};

// Offsets in packed memory, in floats.
struct SensePacked {
  FftPlan rows, columns;
  int64_t column_tables, weights, floats;

  SensePacked(bool line, int64_t weight_sets, int64_t h, int64_t w)
      : rows(fft_plan(w, kSenseRadix)) {
    if (!line) columns = fft_plan(h, kSenseRadix);
    column_tables = rows.floats;
    weights = column_tables + columns.floats;
    floats = weights + weight_sets * w * (line ? 1 : h);
  }
};

inline void plan_sense_pack(bool line, int64_t weight_sets, int64_t h, int64_t w,
                            const float* weights, float* packed) {
  const SensePacked at(line, weight_sets, h, w);
  fft_tables(at.rows, packed);
  if (!line) fft_tables(at.columns, packed + at.column_tables);
  const double points = line ? static_cast<double>(w) : static_cast<double>(h) * w;
  const int64_t depth = line ? 1 : h;
  float* to = packed + at.weights;
  for (int64_t set = 0; set < weight_sets; ++set) {
    for (int64_t x = 0; x < w; ++x) {
      const int column = fft_frequency(at.rows, static_cast<int>(x));
      for (int64_t y = 0; y < depth; ++y, ++to) {
        const int row = line ? 0 : fft_frequency(at.columns, static_cast<int>(y));
        *to = static_cast<float>(weights[(set * depth + row) * w + column] / points);
      }
    }
  }
}

inline SenseMaps sense_maps(const CudaSenseMaps& S) {
  const SensePacked at(S.line, S.weight_sets, S.h, S.w);
  SenseMaps maps{};
  maps.rows = at.rows, maps.columns = at.columns;
  maps.row_tables = S.packed, maps.column_tables = S.packed + at.column_tables;
  maps.weights = S.packed + at.weights;
  maps.maps = static_cast<const Complex*>(S.maps);
  maps.map_sets = S.map_sets, maps.weight_sets = S.weight_sets;
  maps.coils = static_cast<int>(S.coils);
  maps.h = static_cast<int>(S.h), maps.w = static_cast<int>(S.w);
  return maps;
}

// Images and coils of a launch: whole images where their coil images stay below kSenseChunk.
struct SenseChunk {
  int64_t images, coils;

  explicit SenseChunk(const CudaSenseMaps& S) {
    const int64_t plane = S.h * S.w * 8;
    coils = std::clamp<int64_t>(kSenseChunk / plane, 1, S.coils);
    images = coils < S.coils ? 1 : std::clamp<int64_t>(kSenseChunk / (plane * coils), 1, S.images);
  }
  int64_t bytes(const CudaSenseMaps& S) const { return images * coils * S.h * S.w * 8; }
};

inline int64_t plan_sense_workspace(const CudaSenseMaps& S) {
  return S.line || S.images == 0 ? 0 : SenseChunk(S).bytes(S);
}

// Blocks of as many warps as fit into shared memory.
inline LaunchShape sense_blocks(const SenseMaps& maps, int64_t blocks, int images, int staged,
                                int64_t most_shared) {
  int threads = kSenseThreads;
  const auto bytes = [&] {
    return static_cast<int64_t>(sense_room(maps, threads / kWarp, images, staged).total) * 8;
  };
  while (threads > kWarp && bytes() > most_shared) threads /= 2;
  return {blocks, 1, threads, bytes()};
}

template <class Launch>
int plan_sense_normal(const CudaSenseNormal& call, int64_t most_shared, const Launch& launch) {
  const CudaSenseMaps& S = call.S;
  if (S.images * S.h == 0) return 0;
  const SenseMaps maps = sense_maps(S);
  const auto* const v = static_cast<const Complex*>(call.v);
  auto* const out = static_cast<Complex*>(call.out);
  if (S.line) {
    const SenseLineArguments a{maps, v, call.gamma, out, call.dot};
    return launch(sense_blocks(maps, S.images * S.h, 1, 0, most_shared), SenseLineKernel(), a);
  }
  const SenseChunk chunk(S);
  const int64_t groups = (S.w + kSenseColumns - 1) / kSenseColumns;
  const int64_t column_bytes =
      (maps.columns.floats / 2 + kSenseColumns * sense_points(maps.h)) * int64_t{8};
  for (int64_t image = 0; image < S.images; image += chunk.images) {
    const int64_t images = std::min(chunk.images, S.images - image);
    for (int64_t coil = 0; coil < S.coils; coil += chunk.coils) {
      const int64_t coils = std::min(chunk.coils, S.coils - coil);
      const SensePlaneArguments a{maps,
                                  v,
                                  call.gamma,
                                  static_cast<Complex*>(call.workspace),
                                  out,
                                  call.dot,
                                  image,
                                  static_cast<int>(coil),
                                  static_cast<int>(coils)};
      const LaunchShape rows = sense_blocks(maps, images * S.h, 1, 0, most_shared);
      const LaunchShape columns{images * coils * groups, 1, kSenseThreads, column_bytes};
      const LaunchShape gather = sense_blocks(maps, images * S.h, 0, 0, most_shared);
      if (const int status = launch(rows, SenseRowsKernel(), a)) return status;
      if (const int status = launch(columns, SenseColumnsKernel(), a)) return status;
      if (const int status = launch(gather, SenseGatherKernel(), a)) return status;
    }
  }
  return 0;
}

template <class Launch>
int plan_sense_solve(const CudaSenseSolve& call, int64_t most_shared, const Launch& launch) {
  const CudaSenseMaps& S = call.S;
  const int64_t blocks = S.images * S.h;
  if (blocks == 0) return 0;
  const SenseMaps maps = sense_maps(S);
  const SenseSolveArguments a{maps,
                              static_cast<const Complex*>(call.rhs),
                              static_cast<const Complex*>(call.start),
                              call.gamma,
                              static_cast<Complex*>(call.x),
                              call.rr,
                              call.iterations,
                              call.status,
                              call.maxiter,
                              call.prox};
  // Maps are kept where two blocks of a multiprocessor have room for theirs, each with the KB that
  // the device takes; else they come from the second-level cache, and more warps hide that.
  const LaunchShape staged = sense_blocks(maps, blocks, 4, maps.coils, most_shared);
  const bool pairs = 2 * (staged.shared + 1024) <= most_shared + 1024;
  if (pairs && staged.threads == kSenseThreads) return launch(staged, SenseSolveKernel<true>(), a);
  return launch(sense_blocks(maps, blocks, 4, 0, most_shared), SenseSolveKernel<false>(), a);
}

}  // namespace subkern
