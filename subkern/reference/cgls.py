"""Conjugate gradients for least squares, in plain PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from subkern.reference.cg import by_sample
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


def real_rows(v: Tensor) -> Tensor:
    """(samples, n) real numbers."""
    wide = torch.view_as_real(v.contiguous()) if v.is_complex() else v.contiguous()
    return wide.view(len(v), -1 if v.numel() else 0)


def squares(v: Tensor) -> Tensor:
    """(samples,) float64, squared norms."""
    return real_rows(v).double().square().sum(1)


def cgls(
    operator: Any,
    y: Tensor,
    x0: Tensor | None,
    *,
    damp: float,
    maxiter: int,
    rtol: float,
    atol: float,
    check_every: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x, norms of A* (y - A x) - damp^2 x, iterations, statuses); see :func:`subkern.cgls`."""
    shift = damp * damp
    s = operator.adjoint(y)
    scale = squares(s)
    if x0 is None:
        x, r = torch.zeros_like(s), y.clone()
    else:
        x, r = x0.clone(memory_format=torch.contiguous_format), y - operator.matvec(x0)
        s = operator.adjoint(r) - shift * x
    s = s.contiguous()
    state = start(squares(s), scale, rtol, atol, torch.finfo(s.real.dtype).eps)
    p = s.clone()
    data = real_rows(r).clone()
    for k in range(maxiter):
        if check_every and k and k % check_every == 0 and not bool((state[:, STATUS] < 0).any()):
            break
        q = operator.matvec(p)
        curvature = squares(q) + shift * squares(p)
        alpha = step_size(curvature, state)
        step = alpha[:, None].to(data.dtype)
        data = torch.where(step != 0, data - step * real_rows(q), data)
        r = torch.view_as_complex(data.view(*y.shape, 2)) if y.is_complex() else data.view(y.shape)
        ahead = x + step.view(-1, *[1] * (x.dim() - 1)).to(x.dtype) * p
        s = (operator.adjoint(r) - shift * ahead).contiguous()
        judge_(curvature, alpha, squares(s), state)
        cg_step_direction_(real_rows(x), real_rows(p), real_rows(s), state)
    state[:, STATUS].masked_fill_(state[:, STATUS] == RUNNING, EXHAUSTED)
    return x, *by_sample(state[:, RR], state[:, ITERATIONS], state[:, STATUS], len(y))
