"""One step of conjugate gradients on every group of a batch, in plain PyTorch.

``state`` is (g, 10) float64: a group's scalars, in the columns that are named here. A group that is
done keeps its vectors and its numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from subkern.reference._fixed_order import ordered_sum
from subkern.reference.group_dot import group_dot

# <r, z>; <r, r>; what that must not exceed; what it cannot get below by rounding; its least so far;
# steps since then; a status; steps done; step size; share of the last direction in the next.
RHO, RR, TARGET, FLOOR, BEST, STALLED, STATUS, ITERATIONS, ALPHA, BETA = range(10)
COLUMNS = 10

RUNNING, CONVERGED, EXHAUSTED, STAGNATED, CURVATURE, NONFINITE = -1, 0, 1, 2, 3, 4

PATIENCE = 8  # steps without a smaller residual
NEAR = 1e4  # squared residuals of so many floors are near it


def start(rr: Tensor, bb: Tensor, rtol: float, atol: float, eps: float) -> Tensor:
    """The state before the first step.

    Args:
        rr: (g,) float64, squared norms of the first residuals.
        bb: (g,) float64, squared norms of the right-hand sides.
        rtol: a group is done when |r| <= max(rtol |b|, atol).
        atol: see there.
        eps: of the vectors' dtype.
    """
    state = torch.zeros((len(rr), COLUMNS), dtype=torch.float64, device=rr.device)
    columns = state.unbind(1)
    for column in (RHO, RR, BEST):
        columns[column].copy_(rr)
    done = rr <= 0
    finite = rr - rr == 0
    if rtol or atol:  # without a tolerance every step is wanted
        target, floor = (rtol * rtol * bb).clamp_min(atol * atol), eps * eps * bb
        columns[FLOOR].copy_(floor)
        # The recursion falls below what x can reach: there it proves nothing, but for 0.
        columns[TARGET].copy_(torch.where(target < floor, 0.0, target))
        done, finite = rr <= target, finite & (bb - bb == 0)
    status = torch.where(done, float(CONVERGED), float(RUNNING))
    columns[STATUS].copy_(torch.where(finite, status, float(NONFINITE)))
    return state


def cg_start(
    r: Tensor,
    b: Tensor | None,
    rtol: float,
    atol: float,
    dot: Callable[[Tensor, Tensor], Tensor] = group_dot,
) -> Tensor:
    """The state before the first step, of vectors.

    Args:
        r: (g, n), real, the first residuals.
        b: (g, n), the right-hand sides; None, which needs no tolerance, for r.
        rtol: see ``start``.
        atol: see there.
        dot: the inner product.
    """
    rr = dot(r, r)
    return start(rr, rr if b is None else dot(b, b), rtol, atol, torch.finfo(r.dtype).eps)


def restart_(rr: Tensor, state: Tensor) -> None:
    """The state of running groups whose residuals were computed anew, ``rr`` (g,) float64."""
    running = state[:, STATUS] == RUNNING
    after = torch.where(rr <= state[:, TARGET], CONVERGED, torch.full_like(rr, RUNNING))
    after = torch.where(torch.isfinite(rr), after, NONFINITE)
    state[:, STATUS] = torch.where(running, after, state[:, STATUS])
    state[:, RR] = torch.where(running, rr, state[:, RR])
    state[:, RHO] = torch.where(running, rr, state[:, RHO])


def precondition_(rho: Tensor, state: Tensor) -> None:
    """Take rho = <r, P r> for the running groups; a P that is not positive definite ends them."""
    running = state[:, STATUS] == RUNNING
    bad = torch.where(torch.isfinite(rho), CURVATURE, torch.full_like(rho, NONFINITE))
    beta = state[:, BETA] * rho / state[:, RR]  # it was <r, r> over the last rho
    state[:, BETA] = torch.where(running, beta, state[:, BETA])
    state[:, RHO] = torch.where(running, rho, state[:, RHO])
    state[:, STATUS] = torch.where(running & ~(rho > 0), bad, state[:, STATUS])


def step_size(curvature: Tensor, state: Tensor) -> Tensor:
    """(g,) float64: alpha = rho / curvature, 0 for a group that takes no step."""
    moving = (state[:, STATUS] == RUNNING) & torch.isfinite(curvature) & (curvature > 0)
    return torch.where(moving, state[:, RHO] / curvature, 0.0)


def judge_(curvature: Tensor, alpha: Tensor, rr: Tensor, state: Tensor) -> None:
    """The state after a step of size ``alpha`` that left squared residuals ``rr``."""
    rho, _, target, floor, best, stalled, status, iterations, _, _ = state.unbind(1)
    running, moving = status == RUNNING, alpha != 0
    stalled = torch.where(rr < best, 0.0, stalled + 1)
    stuck = (rr <= floor) | ((stalled >= PATIENCE) & (rr <= NEAR * floor))
    after = torch.full_like(status, RUNNING)
    after = torch.where(stuck, STAGNATED, after)
    after = torch.where(rr <= target, CONVERGED, after)
    after = torch.where(torch.isfinite(rr), after, NONFINITE)
    after = torch.where(curvature > 0, after, CURVATURE)
    after = torch.where(torch.isfinite(curvature), after, NONFINITE)
    best = torch.minimum(rr, best)
    beta = rr / rho
    columns = [rr, rr, target, floor, best, stalled, after, iterations + 1, alpha, beta]
    halted = state.clone()
    halted[:, STATUS] = torch.where(running, after, status)
    halted[:, ALPHA] = 0.0
    good = moving & (after != NONFINITE)
    state.copy_(torch.where(good[:, None], torch.stack(columns, 1), halted))


def cg_step_residual_(r: Tensor, q: Tensor, curvature: Tensor, state: Tensor) -> None:
    """Step: r <- r - alpha q, alpha = rho / curvature; then rr = <r, r>, beta and the status.

    A group that is done, or whose curvature is not positive or not finite, keeps its r; where rr
    would not be finite the step is not taken. Either way its alpha is 0.

    Args:
        r: (g, n), real; modified in place.
        q: (g, n), H p.
        curvature: (g,) float64, <p, H p>.
        state: (g, 10) float64; modified in place.
    """
    alpha = step_size(curvature, state)
    step = alpha[:, None].to(r.dtype)
    r.copy_(torch.where(step != 0, r - step * q, r))
    judge_(curvature, alpha, ordered_sum(r.double().square()), state)


def cg_step_direction_(x: Tensor, p: Tensor, z: Tensor, state: Tensor) -> None:
    """Step: x <- x + alpha p, then p <- z + beta p, in the groups that moved (alpha != 0).

    Args:
        x: (g, n), real; modified in place.
        p: (g, n); modified in place.
        z: (g, n), the residual, or what a preconditioner made of it.
        state: (g, 10) float64.
    """
    moved = state[:, ALPHA, None] != 0
    alpha, beta = state[:, ALPHA, None].to(x.dtype), state[:, BETA, None].to(x.dtype)
    x.copy_(torch.where(moved, x + alpha * p, x))
    p.copy_(torch.where(moved, z + beta * p, p))


def cg_step_(
    x: Tensor, r: Tensor, p: Tensor, q: Tensor, curvature: Tensor | None, state: Tensor
) -> None:
    """A whole step without a preconditioner: curvature = <p, q> where None, then both halves.

    Args:
        x: (g, n), real; modified in place.
        r: (g, n); modified in place.
        p: (g, n); modified in place.
        q: (g, n), H p.
        curvature: (g,) float64, where something has computed it already.
        state: (g, 10) float64; modified in place.
    """
    cg_step_residual_(r, q, group_dot(p, q) if curvature is None else curvature, state)
    cg_step_direction_(x, p, r, state)
