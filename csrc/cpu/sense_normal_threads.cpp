// Multi-coil imaging on threads: strips of rows, and strips of columns, are handed out; what is
// summed has one owner, so that results do not depend on the number of threads.
#include <omp.h>

#include <algorithm>
#include <cstring>

#include "../cuda/fft_plan.h"
#include "subkern/sense_normal.h"
#include "work.h"

namespace subkern {
namespace {

// Where everything lies in packed memory and in scratch, in floats.
struct Layout {
  SenseShape shape;
  int64_t lanes, point, strips, strip;  // of an image; floats of a point and of a strip
  FftPlan rows, columns;
  int64_t padded_w = 0, groups = 0;  // of a plane: whole groups of `lanes` columns
  int64_t row_tables, column_tables, weights, weight_set, maps, floats;

  Layout(const SenseShape& s, const Kernels& kernels) : shape(s) {
    lanes = kernels.sk_sense_lanes();
    point = 2 * lanes;
    strips = blocks_of(s.h, lanes);
    strip = s.w * point;
    rows = fft_plan(s.w, kernels.sk_sense_radix());
    weight_set = s.w;
    if (!s.line) {
      columns = fft_plan(s.h, kernels.sk_sense_radix());
      groups = blocks_of(s.w, lanes);
      padded_w = groups * lanes;
      weight_set = groups * s.h * lanes;
    }
    row_tables = 0;
    column_tables = whole(rows.floats);
    weights = column_tables + whole(columns.floats);
    maps = weights + whole(s.weight_sets * weight_set);
    floats = maps + s.map_sets * s.coils * strips * strip;
  }

  // Lines: all coils of a strip together. Planes: all strips of a coil.
  int64_t map_at(int64_t image, int64_t coil, int64_t strip_index) const {
    const int64_t set = image % shape.map_sets;
    const int64_t place = shape.line ? (set * strips + strip_index) * shape.coils + coil
                                     : (set * shape.coils + coil) * strips + strip_index;
    return maps + place * strip;
  }
  int64_t weight_at(int64_t image) const {
    return weights + image % shape.weight_sets * weight_set;
  }
  int64_t rows_of(int64_t strip_index) const {
    return std::min(lanes, shape.h - strip_index * lanes);
  }

 private:
  static int64_t whole(int64_t count) { return (count + 15) / 16 * 16; }
};

constexpr int64_t kLineStrips = 5;  // of scratch for a thread

int64_t plane_scratch(const Layout& at, int threads) {
  const int64_t hybrid = at.strips * at.padded_w * at.point;
  const int64_t column = at.strips * at.lanes * at.point;
  return 2 * at.strips * at.strip + hybrid + at.strips * 2 + threads * column;
}

void pack_weights(const Layout& at, const float* weights, float* packed) {
  const SenseShape& s = at.shape;
  const double points = s.line ? static_cast<double>(s.w) : static_cast<double>(s.h) * s.w;
  const auto scaled = [points](float w) { return static_cast<float>(w / points); };
  for (int64_t set = 0; set < s.weight_sets; ++set) {
    float* const to = packed + at.weights + set * at.weight_set;
    if (s.line) {
      for (int x = 0; x < s.w; ++x) {
        to[x] = scaled(weights[set * s.w + fft_frequency(at.rows, x)]);
      }
      continue;
    }
    const float* const from = weights + set * s.h * s.w;
    std::fill(to, to + at.weight_set, 0.0f);
    for (int x = 0; x < s.w; ++x) {
      const int column = fft_frequency(at.rows, x);
      float* const lane = to + x / at.lanes * s.h * at.lanes + x % at.lanes;
      for (int y = 0; y < s.h; ++y) {
        lane[y * at.lanes] = scaled(from[fft_frequency(at.columns, y) * s.w + column]);
      }
    }
  }
}

SenseLines lines_of(const Layout& at, const float* packed, const float* gamma, int64_t image,
                    int64_t strip, float* scratch) {
  const bool shifted = gamma != nullptr;
  return {&at.rows,
          packed + at.row_tables,
          packed + at.weight_at(image),
          packed + at.map_at(image, 0, strip),
          at.shape.coils,
          at.strip,
          at.rows_of(strip),
          at.shape.w,
          shifted,
          shifted ? gamma[image] : 1.0f,
          scratch};
}

// Calls body(image, strip, scratch of the thread) for every strip.
template <class Body>
void over_strips(const Layout& at, void* workspace, int threads, const Body& body) {
  const int64_t tasks = at.shape.images * at.strips;
  const int team = team_for(at.shape.images * at.shape.h * at.shape.w * at.shape.coils, threads);
  float* const scratch = static_cast<float*>(workspace);
#pragma omp parallel for schedule(dynamic) num_threads(team)
  for (int64_t task = 0; task < tasks; ++task) {
    float* const own = scratch + omp_get_thread_num() * kLineStrips * at.strip;
    body(task / at.strips, task % at.strips, own);
  }
}

void normal_of_lines(const SenseNormal& call, const Layout& at, const Kernels& kernels,
                     int threads) {
  const SenseShape& s = at.shape;
  over_strips(at, call.workspace, threads, [&](int64_t image, int64_t strip, float* scratch) {
    const int64_t row = image * s.h + strip * at.lanes, from = row * s.w * 2;
    kernels.sk_sense_lines(lines_of(at, call.packed, call.gamma, image, strip, scratch),
                           call.v + from, call.out + from, 2 * s.w, call.dot + row);
  });
}

// One image after the other, one coil after the other: a coil's image stays in the caches. All
// threads work on it, and meet after rows and after columns.
void normal_of_planes(const SenseNormal& call, const Layout& at, const Kernels& kernels,
                      int threads) {
  const SenseShape& s = at.shape;
  float* const v = static_cast<float*>(call.workspace);
  float* const sum = v + at.strips * at.strip;
  float* const hybrid = sum + at.strips * at.strip;
  double* const dots = reinterpret_cast<double*>(hybrid + at.strips * at.padded_w * at.point);
  float* const columns = reinterpret_cast<float*>(dots + at.strips);
  const int64_t column = at.strips * at.lanes * at.point, row_floats = 2 * s.w;
  const SensePlane plane{&at.rows,
                         &at.columns,
                         call.packed + at.row_tables,
                         call.packed + at.column_tables,
                         s.h,
                         s.w,
                         at.padded_w,
                         hybrid};
#pragma omp parallel num_threads(team_for(s.h* s.w* s.coils, threads))
  {
#pragma omp for
    for (int64_t strip = 0; strip < at.strips; ++strip) {  // points beyond w, once
      std::memset(hybrid + strip * at.padded_w * at.point, 0, at.padded_w * at.point * 4);
    }
    for (int64_t image = 0; image < s.images; ++image) {
      const float* const weights = call.packed + at.weight_at(image);
      const bool shifted = call.gamma != nullptr;
      const float gamma = shifted ? call.gamma[image] : 1.0f;
      for (int64_t coil = 0; coil <= s.coils; ++coil) {
#pragma omp for
        for (int64_t strip = 0; strip < at.strips; ++strip) {
          float* const own_v = v + strip * at.strip;
          float* const own_sum = sum + strip * at.strip;
          const int64_t from = (image * s.h + strip * at.lanes) * row_floats;
          if (coil == 0) {
            kernels.sk_sense_enter(call.v + from, row_floats, at.rows_of(strip), row_floats, own_v);
            std::memset(own_sum, 0, at.strip * sizeof(float));
          } else {
            kernels.sk_sense_gather(plane, strip, call.packed + at.map_at(image, coil - 1, strip),
                                    own_sum);
          }
          if (coil < s.coils) {
            kernels.sk_sense_rows(plane, strip, own_v, call.packed + at.map_at(image, coil, strip));
          } else {
            dots[strip] = kernels.sk_sense_finish(own_v, s.w, shifted, gamma, own_sum);
            kernels.sk_sense_leave(own_sum, row_floats, at.rows_of(strip), row_floats,
                                   call.out + from);
          }
        }
        if (coil == s.coils) break;
#pragma omp for
        for (int64_t group = 0; group < at.groups; ++group) {
          kernels.sk_sense_columns(plane, group, weights, columns + omp_get_thread_num() * column);
        }
      }
#pragma omp single
      {
        double total = 0.0;
        for (int64_t strip = 0; strip < at.strips; ++strip) total += dots[strip];
        call.dot[image] = total;
      }
    }
  }
}

}  // namespace

int64_t sense_pack_floats(const SenseShape& shape) {
  return Layout(shape, active_kernels()).floats;
}

int64_t sense_workspace(const SenseShape& shape, int threads) {
  const Layout at(shape, active_kernels());
  const int64_t floats = shape.line ? threads * kLineStrips * at.strip : plane_scratch(at, threads);
  return floats * static_cast<int64_t>(sizeof(float));
}

void sk_sense_pack(const SenseShape& shape, const float* maps, const float* weights, float* packed,
                   int threads) {
  const Kernels& kernels = active_kernels();
  const Layout at(shape, kernels);
  fft_tables(at.rows, packed + at.row_tables);
  if (!shape.line) fft_tables(at.columns, packed + at.column_tables);
  pack_weights(at, weights, packed);
  const int64_t row_floats = 2 * shape.w, planes = shape.map_sets * shape.coils;
#pragma omp parallel for num_threads(team_for(planes* shape.h* shape.w, threads))
  for (int64_t plane = 0; plane < planes; ++plane) {
    const int64_t set = plane / shape.coils, coil = plane % shape.coils;
    for (int64_t strip = 0; strip < at.strips; ++strip) {
      kernels.sk_sense_enter(maps + (plane * shape.h + strip * at.lanes) * row_floats, row_floats,
                             at.rows_of(strip), row_floats, packed + at.map_at(set, coil, strip));
    }
  }
}

void sk_sense_normal(const SenseNormal& call, int threads) {
  const Kernels& kernels = active_kernels();
  const Layout at(call.shape, kernels);
  if (call.shape.line) {
    normal_of_lines(call, at, kernels, threads);
  } else {
    normal_of_planes(call, at, kernels, threads);
  }
}

void sk_sense_solve(const SenseSolve& call, int threads) {
  const Kernels& kernels = active_kernels();
  const Layout at(call.shape, kernels);
  const SenseShape& s = at.shape;
  over_strips(at, call.workspace, threads, [&](int64_t image, int64_t strip, float* scratch) {
    const int64_t row = image * s.h + strip * at.lanes, from = row * s.w * 2;
    kernels.sk_sense_line_solve(
        {lines_of(at, call.packed, call.gamma, image, strip, scratch), call.rhs + from,
         call.start == nullptr ? nullptr : call.start + from, call.x + from, 2 * s.w, call.prox,
         call.maxiter, call.rr + row, call.iterations + row, call.status + row});
  });
}

}  // namespace subkern
