// Strips of rows through coil maps and transforms.
#include <cstdint>

#include "kernels.h"
#include "sense_strips.h"

namespace subkern {
namespace SUBKERN_ISA {

int sk_sense_lanes() { return kWidth; }
int sk_sense_radix() { return kMostRadix; }

void sk_sense_enter(const float* rows, int64_t stride, int64_t count, int64_t floats,
                    float* strip) {
  enter_strip(rows, stride, count, floats, strip);
}

void sk_sense_leave(const float* strip, int64_t stride, int64_t count, int64_t floats,
                    float* rows) {
  leave_strip(strip, stride, count, floats, rows);
}

void sk_sense_lines(const SenseLines& lines, const float* v, float* out, int64_t row_stride,
                    double* dot) {
  const int64_t floats = 2 * lines.w, strip = lines.w * kPoint;
  float *const p = lines.scratch, *const q = p + strip, *const points = q + strip;
  enter_strip(v, row_stride, lines.rows, floats, p);
  apply_normal(lines, p, q, points);
  double found[kWidth];
  finish_rows(p, lines.w, lines.shifted, lines.gamma, q).store(found);
  for (int64_t row = 0; row < lines.rows; ++row) dot[row] = found[row];
  leave_strip(q, row_stride, lines.rows, floats, out);
}

void sk_sense_rows(const SensePlane& plane, int64_t strip, const float* v, const float* maps) {
  const Fft fft{*plane.row_plan, plane.row_tables};
  float* const points = plane.hybrid + strip * plane.padded_w * kPoint;
  transform(fft, CoilImage{v, maps}, Points{points});
}

void sk_sense_columns(const SensePlane& plane, int64_t group, const float* weights,
                      float* scratch) {
  const Fft fft{*plane.column_plan, plane.column_tables};
  const int64_t strip = plane.padded_w * kPoint;
  float* const corner = plane.hybrid + group * kWidth * kPoint;
  // Lanes become columns: strips of rows in, points along a column out, and back.
  for (int64_t from = 0; from < plane.h; from += kWidth) {
    swap_lanes(corner + from / kWidth * strip, kPoint, scratch + from * kPoint, kPoint);
  }
  filter(fft, Points{scratch}, LaneWeights{weights + group * plane.h * kWidth}, Points{scratch},
         Points{scratch});
  for (int64_t from = 0; from < plane.h; from += kWidth) {
    swap_lanes(scratch + from * kPoint, kPoint, corner + from / kWidth * strip, kPoint);
  }
}

void sk_sense_gather(const SensePlane& plane, int64_t strip, const float* maps, float* sum) {
  const Fft fft{*plane.row_plan, plane.row_tables};
  float* const points = plane.hybrid + strip * plane.padded_w * kPoint;
  transform_back(fft, Points{points}, CoilSum{maps, sum});
}

double sk_sense_finish(const float* v, int64_t points, bool shifted, float gamma, float* sum) {
  double found[kWidth], total = 0.0;
  finish_rows(v, points, shifted, gamma, sum).store(found);
  for (const double row : found) total += row;
  return total;
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
