// Conjugate gradients on a strip of rows, each a system of its own, without leaving the cache.
#include <cstdint>

#include "kernels.h"
#include "sense_strips.h"

namespace subkern {
namespace SUBKERN_ISA {
namespace {

// Statuses as in subkern.CGResult; a row that is not done has kRunning.
enum Status : int32_t {
  kRunning = -1,
  kConverged = 0,
  kExhausted = 1,
  kCurvature = 3,
  kNonFinite = 4
};

// Scalars of a strip's rows.
struct Rows {
  double rho[kWidth], dot[kWidth];
  float alpha[kWidth], beta[kWidth];
  int32_t status[kWidth], iterations[kWidth];

  bool running(int64_t count) const {
    for (int64_t row = 0; row < count; ++row) {
      if (status[row] == kRunning) return true;
    }
    return false;
  }

  // Step sizes from <p, q>, 0 for a row that takes no step.
  void size_steps() {
    for (int row = 0; row < kWidth; ++row) {
      alpha[row] = 0.0f;
      if (status[row] != kRunning) continue;
      if (!__builtin_isfinite(dot[row])) {
        status[row] = kNonFinite;
      } else if (!(dot[row] > 0.0)) {
        status[row] = kCurvature;
      } else {
        alpha[row] = static_cast<float>(rho[row] / dot[row]);
      }
    }
  }

  // After r has moved: `dot` is <r, r>.
  void judge() {
    for (int row = 0; row < kWidth; ++row) {
      beta[row] = 0.0f;
      if (alpha[row] == 0.0f) continue;
      if (!__builtin_isfinite(dot[row])) {
        status[row] = kNonFinite;
        alpha[row] = 0.0f;
        continue;
      }
      beta[row] = static_cast<float>(dot[row] / rho[row]);
      rho[row] = dot[row];
      ++iterations[row];
      if (dot[row] <= 0.0) status[row] = kConverged;
    }
  }
};

// r = rhs, gamma rhs, or that less H x0 (as q holds N x0); <r, r> of each row.
RowSums first_residual(const SenseLineSolve& call, const float* x, const float* q, float* r) {
  const SenseLines& lines = call.lines;
  const Vec gamma = splat(lines.gamma);
  RowSums re, im;
  for (int64_t i = 0; i < lines.w; ++i) {
    Complex left = Points{r}.load(i);  // the right-hand side
    if (call.start != nullptr) {
      const Complex Nx = Points{const_cast<float*>(q)}.load(i);
      const Complex at = Points{const_cast<float*>(x)}.load(i);
      if (call.prox) {
        const Complex gap = minus(left, Nx);
        left = {mul(gamma, gap.re), mul(gamma, gap.im)};
      } else {
        if (lines.shifted) left = minus(left, at);
        left = {fnma(gamma, Nx.re, left.re), fnma(gamma, Nx.im, left.im)};
      }
    }
    Points{r}.store(i, left);
    re.add_product(left.re, left.re);
    im.add_product(left.im, left.im);
  }
  return {add(re.low, im.low), add(re.high, im.high)};
}

// r -= alpha q; <r, r> of each row.
RowSums move_residual(int64_t points, const float* alpha, const float* q, float* r) {
  const Vec step = load(alpha, All{});
  const Mask moves = less(zero(), step);
  RowSums re, im;
  for (int64_t i = 0; i < points; ++i) {
    const Complex by = Points{const_cast<float*>(q)}.load(i), at = Points{r}.load(i);
    const Complex to = {pick(moves, fnma(step, by.re, at.re), at.re),
                        pick(moves, fnma(step, by.im, at.im), at.im)};
    Points{r}.store(i, to);
    re.add_product(to.re, to.re);
    im.add_product(to.im, to.im);
  }
  return {add(re.low, im.low), add(re.high, im.high)};
}

// x += alpha p, then p = r + beta p, in the rows that moved.
void move_solution(int64_t points, const Rows& rows, const float* r, float* x, float* p) {
  const Vec step = load(rows.alpha, All{}), share = load(rows.beta, All{});
  const Mask moves = less(zero(), step);
  for (int64_t i = 0; i < points; ++i) {
    const Complex at = Points{x}.load(i), by = Points{p}.load(i);
    const Complex rest = Points{const_cast<float*>(r)}.load(i);
    Points{x}.store(i, {pick(moves, fma(step, by.re, at.re), at.re),
                        pick(moves, fma(step, by.im, at.im), at.im)});
    Points{p}.store(i, {fma(share, by.re, rest.re), fma(share, by.im, rest.im)});
  }
}

}  // namespace

void sk_sense_line_solve(const SenseLineSolve& call) {
  const SenseLines& lines = call.lines;
  const int64_t floats = 2 * lines.w, strip = lines.w * kPoint;
  float *const x = lines.scratch, *const r = x + strip, *const p = r + strip, *const q = p + strip,
               *const points = q + strip;
  Rows rows;
  enter_strip(call.rhs, call.row_stride, lines.rows, floats, r);
  if (call.start != nullptr) {
    enter_strip(call.start, call.row_stride, lines.rows, floats, x);
    apply_normal(lines, x, q, points);
  } else {
    clear(x, strip);
  }
  first_residual(call, x, q, r).store(rows.rho);
  for (int row = 0; row < kWidth; ++row) {
    const bool finite = __builtin_isfinite(rows.rho[row]);
    rows.status[row] = !finite ? kNonFinite : rows.rho[row] > 0.0 ? kRunning : kConverged;
    rows.iterations[row] = 0;
  }
  for (int64_t i = 0; i < strip; i += kWidth) store(p + i, load(r + i, All{}), All{});
  for (int64_t k = 0; k < call.maxiter && rows.running(lines.rows); ++k) {
    apply_normal(lines, p, q, points);
    finish_rows(p, lines.w, lines.shifted, lines.gamma, q).store(rows.dot);
    rows.size_steps();
    move_residual(lines.w, rows.alpha, q, r).store(rows.dot);
    rows.judge();
    move_solution(lines.w, rows, r, x, p);
  }
  leave_strip(x, call.row_stride, lines.rows, floats, call.x);
  for (int64_t row = 0; row < lines.rows; ++row) {
    call.rr[row] = rows.rho[row];
    call.iterations[row] = rows.iterations[row];
    call.status[row] = rows.status[row] == kRunning ? kExhausted : rows.status[row];
  }
}

}  // namespace SUBKERN_ISA
}  // namespace subkern
