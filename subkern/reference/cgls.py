"""Conjugate gradients for least squares, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from subkern.reference.cg import as_complex, as_real, by_sample
from subkern.reference.cg_step import (
    EXHAUSTED,
    ITERATIONS,
    RR,
    RUNNING,
    STATUS,
    cg_step_direction_,
    judge_,
    start,
    step_size,
)
from subkern.reference.group_dot import group_dot


def real_rows(v: Tensor) -> Tensor:
    """(samples, n) real numbers, in the same memory."""
    return as_real(v, len(v))


def cgls(
    forward: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    y: Tensor,
    Aty: Tensor,
    x0: Tensor | None,
    *,
    damp: float,
    maxiter: int,
    rtol: float,
    atol: float,
    check_every: int,
    dot: Callable[[Tensor, Tensor], Tensor] = group_dot,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x, norms of A* (y - A x) - damp^2 x, iterations, statuses); see :func:`subkern.cgls`.

    Tensors are contiguous, those that A and A* answer with too.
    """

    def squares(v: Tensor) -> Tensor:
        return dot(real_rows(v), real_rows(v))

    shift = damp * damp
    scale = squares(Aty)
    if x0 is None:
        x, r, s = torch.zeros_like(Aty), y, Aty
    else:
        x, r = x0.clone(), y - forward(x0)
        s = adjoint(r) - shift * x
    state = start(squares(s), scale, rtol, atol, torch.finfo(s.real.dtype).eps)
    p = s.clone()
    xs, ps, data = real_rows(x), real_rows(p), real_rows(r).clone()
    for k in range(maxiter):
        if check_every and k and k % check_every == 0 and not bool((state[:, STATUS] < 0).any()):
            break
        q = forward(p)
        curvature = squares(q) + shift * squares(p)
        alpha = step_size(curvature, state)
        # Where alpha is 0 the sample is done: what becomes of its data does not count.
        step = alpha[:, None].to(data.dtype)
        data.addcmul_(real_rows(q), step, value=-1)
        s = adjoint(as_complex(data, y))
        if shift:
            ahead = torch.addcmul(xs, ps, step)
            s = as_complex(torch.sub(real_rows(s), ahead, alpha=shift), x)
        judge_(curvature, alpha, squares(s), state)
        cg_step_direction_(xs, ps, real_rows(s), state)
    state[:, STATUS].masked_fill_(state[:, STATUS] == RUNNING, EXHAUSTED)
    return x, *by_sample(state[:, RR], state[:, ITERATIONS], state[:, STATUS], len(y))
