"""Conjugate gradients on a batch of Hermitian systems, in plain PyTorch.

Complex vectors are read as real ones of twice the length: <p, H p> is real, so that every inner
product of the method is one of real numbers, Re <u, v> = sum(re re + im im), and is Hermitian by
construction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from subkern.reference.cg_step import (
    ITERATIONS,
    RR,
    STATUS,
    cg_start,
    cg_step_,
    cg_step_direction_,
    cg_step_residual_,
    precondition_,
    restart_,
)
from subkern.reference.group_dot import group_dot

WholeStep = Callable[[Tensor, Tensor | None], None]  # H p in any shape, <p, H p> of each group


def whole_step(x: Tensor, r: Tensor, p: Tensor, state: Tensor) -> WholeStep:
    """The steps of a solve whose vectors these are.

    Args:
        x: (groups, n), real; modified by every step, and so all that follow.
        r: (groups, n).
        p: (groups, n).
        state: (groups, 10) float64.
    """
    return lambda q, curvature: cg_step_(x, r, p, as_real(q, len(x)), curvature, state)


class Steps(NamedTuple):
    """What an iteration does to vectors (groups, n): kernels with the meaning of the references."""

    start: Callable[[Tensor, Tensor | None, float, float], Tensor] = cg_start
    dot: Callable[[Tensor, Tensor], Tensor] = group_dot
    residual_: Callable[[Tensor, Tensor, Tensor, Tensor], None] = cg_step_residual_
    direction_: Callable[[Tensor, Tensor, Tensor, Tensor], None] = cg_step_direction_
    whole: Callable[[Tensor, Tensor, Tensor, Tensor], WholeStep] = whole_step


class System:
    """H = I + gamma N, or N where gamma is None, and the residual of a right-hand side.

    Args:
        normal: N in its own layout; see :class:`subkern.imaging.NormalOperator`.
        rhs: b; with ``centre``, A* y.
        gamma: one per sample in the real dtype of rhs, or None.
        centre: z of the system H x = z + gamma A* y, whose right-hand side is never formed.
    """

    def __init__(self, normal: Any, rhs: Tensor, gamma: Tensor | None, centre: Tensor | None):
        self.normal, self.rhs, self.centre, self.gamma = normal, rhs, centre, gamma

    def __call__(self, v: Tensor) -> Tensor:
        """H v, contiguous."""
        Nv = self.normal(v)
        if self.gamma is None:
            return Nv
        found = torch.addcmul(as_real(v, len(v)), as_real(Nv, len(v)), self.gamma[:, None])
        return as_complex(found, v)

    def residual(self, x: Tensor | None) -> Tensor:
        """What is left, b - H x, or b itself; x None is 0, or the centre where there is one."""
        if self.centre is None:
            return self.rhs if x is None else self.rhs - self(x)
        at = self.centre if x is None else x
        r = self._weigh(self.rhs - self.normal(at))
        return r if x is None else r - (x - self.centre)

    def right_side(self) -> Tensor:
        """What H x shall be, for its norm."""
        return self.rhs if self.centre is None else self.centre + self._weigh(self.rhs)

    def _weigh(self, v: Tensor) -> Tensor:
        assert self.gamma is not None
        return self.gamma.view(-1, *[1] * (v.dim() - 1)) * v


def as_real(v: Tensor, groups: int) -> Tensor:
    """A contiguous batch as (groups, n) real numbers, in the same memory."""
    wide = torch.view_as_real(v) if v.is_complex() else v
    return wide.view(groups, -1 if v.numel() else 0)


def as_complex(wide: Tensor, like: Tensor) -> Tensor:
    """The inverse of ``as_real``, in the shape of ``like``."""
    if not like.is_complex():
        return wide.view(like.shape)
    return torch.view_as_complex(wide.view(*like.shape, 2))


def iterate(
    system: System,
    x: Tensor,
    r: Tensor,
    p: Tensor,
    groups: int,
    *,
    maxiter: int,
    rtol: float,
    atol: float,
    precond: Callable[[Tensor], Tensor] | None,
    replace_every: int,
    check_every: int,
    apply: Callable[[Tensor], tuple[Tensor, Tensor | None]],
    steps: Steps,
) -> Tensor:
    """Improve ``x``, whose residual is ``r``, in place; returns the state of its groups.

    Args:
        system: for residuals.
        x: contiguous, modified in place.
        r: contiguous, modified in place.
        p: contiguous memory for the direction.
        groups: of samples (or rows, or all) that share their scalars.
        maxiter: steps, at most.
        rtol: see :func:`subkern.reference.cg_step.start`.
        atol: see there.
        precond: maps a residual to P r; None for the residual itself.
        replace_every: steps after which the residual is computed anew and p starts again; 0: never.
        check_every: steps after which the host asks whether all are done; 0: never.
        apply: p -> (H p, <p, H p> of each group or None).
        steps: the kernels.
    """
    xs, rs, ps = (as_real(v, groups) for v in (x, r, p))
    needs_norm = rtol or atol
    bs = as_real(system.right_side(), groups) if needs_norm else None
    state = steps.start(rs, bs, rtol, atol)
    step = steps.whole(xs, rs, ps, state)
    for k in range(maxiter):
        if check_every and k and k % check_every == 0 and not bool((state[:, STATUS] < 0).any()):
            break
        replaced = replace_every and k and k % replace_every == 0
        if replaced:
            r.copy_(system.residual(x))
            restart_(steps.dot(rs, rs), state)
        if k == 0 or replaced:
            zs = rs if precond is None else as_real(precond(r), groups)
            if precond is not None:
                precondition_(steps.dot(rs, zs), state)
            ps.copy_(zs)
        q, curvature = apply(p)
        if precond is None:
            step(q, curvature)
            continue
        qs = as_real(q, groups)
        steps.residual_(rs, qs, steps.dot(ps, qs) if curvature is None else curvature, state)
        zs = as_real(precond(r), groups)
        precondition_(steps.dot(rs, zs), state)
        steps.direction_(xs, ps, zs, state)
    state.select(1, STATUS).abs_()  # whoever is still running has done all steps
    return state


def cg(
    normal: Any,
    rhs: Tensor,
    x0: Tensor | None,
    centre: Tensor | None,
    gamma: Tensor | None,
    *,
    coupling: str,
    workspace: Tensor | None,
    true_residual: bool,
    steps: Steps = Steps(),  # noqa: B008
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x, residual norms, iterations, statuses), the last three by sample; x in N's own layout.

    All tensors are in the layout of ``normal`` and contiguous; see :func:`subkern.cg`.
    """
    system = System(normal, rhs, gamma, centre)
    groups = normal.groups(coupling, len(rhs), rhs)
    like = rhs if centre is None else centre
    begin = x0 if x0 is not None else centre
    x = torch.zeros_like(like) if begin is None else begin.clone()
    shape = (2, *like.shape)
    if workspace is None:
        # One block: freed, it teaches malloc to keep what the operator's temporaries take.
        pair = like.new_empty(shape)
    else:
        pair = workspace[: 2 * like.numel()].view(shape)
    r, p = pair.unbind()
    r.copy_(system.residual(x0))

    def apply(v: Tensor) -> tuple[Tensor, Tensor | None]:
        found = normal.fused(v, gamma, coupling)
        if found is not None:
            return found
        q = system(v)
        # An operator may hand back what it was given, which the step is going to write.
        alias = torch._C._is_alias_of(q, v)  # type: ignore[attr-defined]
        return q.clone() if alias else q, None

    state = iterate(system, x, r, p, groups, apply=apply, steps=steps, **options)
    if true_residual:
        at = as_real(system.residual(x), groups)
        rr = steps.dot(at, at)
    else:
        rr = state.select(1, RR)
    found = (rr, state.select(1, ITERATIONS), state.select(1, STATUS))
    return x, *by_sample(*found, len(rhs))


def by_sample(
    rr: Tensor, iterations: Tensor, status: Tensor, samples: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Residual norms, iterations and statuses of groups as those of samples: the worst of them."""
    if len(rr) == 1 and samples != 1:  # all samples are one system
        rr, iterations, status = (v.expand(samples) for v in (rr, iterations, status))
    if len(rr) == samples:
        return rr.sqrt(), iterations.int(), status.int()
    rr, iterations, status = (v.reshape(samples, -1) for v in (rr, iterations, status))
    return rr.sum(1).sqrt(), iterations.amax(1).int(), status.amax(1).int()
