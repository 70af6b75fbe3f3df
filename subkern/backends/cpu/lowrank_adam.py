"""Low-rank Adam step on the CPU: product, native moments, product folded into the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.products import project, scratch_dtype, update, workspace
from subkern.backends.cpu.tensors import CODES, addresses, empty, refusal
from subkern.backends.registry import register
from subkern.reference.lowrank_adam import residual_is_roundoff

# Parameters go through the stages together while their projected gradients stay in cache.
CHUNK_BYTES = 4 << 20
RULE_CODES = {"galore": 0, "fira": 1}


def can_serve(
    *,
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    bases: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    **_: object,
) -> str | None:
    """None, or why this call needs another backend."""
    if (reason := refusal(params, exp_avgs)) is not None:
        return reason
    if bases and bases[0].dtype != params[0].dtype:
        return f"needs bases of the parameters' dtype {params[0].dtype}, got {bases[0].dtype}"
    if not all(1 in t.stride() or t.numel() < 2 for t in (*params, *grads)):
        return "needs parameters and gradients with unit stride along rows or columns"
    if not all(t.is_contiguous() for t in (*exp_avgs, *exp_avg_sqs)):
        return "needs contiguous moments"
    return None


@dataclass(frozen=True)
class _Plan:
    """What all parameters of a call share. ``side`` is left or right; full is left, then Q."""

    m: int
    n: int
    rank: int
    side: str
    full: bool
    decay: float
    moments: dict[str, Any]  # keyword arguments of the native moments stage

    @property
    def lowrank(self) -> tuple[int, int]:
        """Shape of the gradient projected on one side."""
        return (self.rank, self.n) if self.side == "left" else (self.m, self.rank)

    @property
    def columns(self) -> int:
        """Canonical columns of the gradient."""
        return self.n if self.side == "left" else self.m


@register("lowrank_adam", "cpu", can_serve)
def lowrank_adam_(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    bases: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    skipped: Sequence[Tensor],
    limiters: Sequence[Tensor],
    bases_right: Sequence[Tensor],
    *,
    lr: Tensor,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    correct_bias: bool,
    decay: str,
    side: str,
    rule: str,
    scale: float,
    gamma: float,
    norm_eps: float,
    alpha_in_residual: bool,
    granularity: str,
    skip_nonfinite: bool,
) -> None:
    """See :func:`subkern.ops.lowrank_adam.lowrank_adam_`."""
    (m, n), rank, rate = params[0].shape, bases[0].shape[1], float(lr)
    if m * n == 0:  # nothing to project: the kernels take matrices with elements
        for step in steps:
            step.add_(1)
        return
    full = side == "full"
    residual_scale = scale if alpha_in_residual else 1.0
    factor = 1.0 - rate * weight_decay
    plan = _Plan(
        m=m,
        n=n,
        rank=rank,
        # (P^T G) Q in the published order: at a fresh SVD basis the off-diagonal of R is round-off,
        # which Adam scales up, so that another order gives visibly different weights.
        side="left" if full else side,
        full=full,
        decay=factor,
        moments=dict(
            lr=rate,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            decay=factor,
            update_scale=factor if decay == "post" else 1.0,
            correct_bias=correct_bias,
            scale=scale,
            skip_nonfinite=skip_nonfinite,
            rule=RULE_CODES[rule],
            gamma=gamma,
            norm_eps=norm_eps,
            residual_scale=residual_scale,
            matrix_norm=full or granularity == "matrix",
            skip_residual=residual_is_roundoff((m, n), rank, side, residual_scale),
        ),
    )
    state = (exp_avgs, exp_avg_sqs, steps, skipped, limiters)
    for chunk in _chunks(params, grads, plan):
        lists = [tensors[chunk] for tensors in (params, grads, bases, *state, bases_right)]
        _step_chunk(plan, *lists)


def _chunks(params: Sequence[Tensor], grads: Sequence[Tensor], plan: _Plan) -> Iterator[slice]:
    """Runs of parameters with equal strides whose scratch stays within CHUNK_BYTES."""
    rows, cols = plan.lowrank
    longest = max(1, CHUNK_BYTES // (4 * rows * cols))
    start = 0
    for i in range(1, len(params) + 1):
        if i < len(params) and i - start < longest:
            same = (params[i].stride(), grads[i].stride()) == (
                params[start].stride(),
                grads[start].stride(),
            )
            if same:
                continue
        yield slice(start, i)
        start = i


def _step_chunk(
    plan: _Plan,
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    bases: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    skipped: Sequence[Tensor],
    limiters: Sequence[Tensor],
    bases_right: Sequence[Tensor],
) -> None:
    count = len(params)
    dtype = scratch_dtype(params[0].dtype, plan.m, plan.n, plan.rank)
    lowrank = empty(count, *plan.lowrank, dtype=dtype)
    R = empty(count, plan.rank, plan.rank, dtype=dtype) if plan.full else lowrank
    scratch = workspace(plan.m, plan.n, plan.rank, plan.side)
    scratch_right = workspace(plan.rank, plan.n, plan.rank, "right") if plan.full else scratch
    scratch_back = workspace(plan.rank, plan.rank, plan.n, "right") if plan.full else scratch
    fira = plan.moments["rule"] == RULE_CODES["fira"]
    norms = empty(count, plan.columns) if fira else None
    for i in range(count):
        sums = norms[i] if norms is not None else None
        project(grads[i], bases[i], plan.side, lowrank[i], scratch, sums)
        if plan.full:
            project(lowrank[i], bases_right[i], "right", R[i], scratch_right)

    coef = empty(count, plan.columns) if fira else None
    skips = _moments(plan, R, (exp_avgs, exp_avg_sqs, steps, skipped, limiters), norms, coef)

    for i in range(count):
        if skips[i]:
            continue
        if plan.full:
            project(R[i], bases_right[i].T, "right", lowrank[i], scratch_back)
        c = coef[i] if coef is not None else None
        update(params[i], bases[i], lowrank[i], plan.side, plan.decay, scratch, grads[i], c)


def _moments(
    plan: _Plan,
    R: Tensor,
    state: Sequence[Sequence[Tensor]],
    norms: Tensor | None,
    coef: Tensor | None,
) -> list[bool]:
    """Native stage between the products; R becomes the low-rank part of -eta * U."""
    exp_avgs, exp_avg_sqs, steps, skipped, limiters = state
    kernels = native.module()
    rows, cols = R.shape[1:]
    axis = 1 if plan.side == "left" else 0
    floats = kernels.lowrank_adam_workspace(
        count=len(R),
        rows=rows,
        cols=cols,
        column_axis=axis,
        rule=plan.moments["rule"],
    )
    scratch = empty(floats)
    return kernels.lowrank_adam_moments(
        R=addresses(list(R)),
        exp_avg=addresses(exp_avgs),
        exp_avg_sq=addresses(exp_avg_sqs),
        step=addresses(steps),
        skipped=addresses(skipped),
        rows=rows,
        cols=cols,
        column_axis=axis,
        r_dtype=CODES[R.dtype],
        columns=plan.columns,
        norms=addresses(list(norms)) if norms is not None else [],
        limiter=addresses(limiters),
        coef=addresses(list(coef)) if coef is not None else [],
        workspace=scratch.data_ptr(),
        workspace_floats=floats,
        threads=torch.get_num_threads(),
        **plan.moments,
    )
