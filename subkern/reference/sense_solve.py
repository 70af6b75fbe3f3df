"""Whole solves with row coupling under a line mask, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.reference import cg
from subkern.reference.cg_step import ITERATIONS, RR, STATUS
from subkern.reference.sense_normal import sense_normal


class _Lines:
    """N of a line mask, as the reference solver takes it."""

    def __init__(self, maps: Tensor, weights: Tensor):
        self.maps, self.weights = maps, weights

    def __call__(self, v: Tensor) -> Tensor:
        return sense_normal(v, self.maps, self.weights, None)[0]


def sense_solve(
    rhs: Tensor,
    start: Tensor | None,
    maps: Tensor,
    weights: Tensor,
    gamma: Tensor | None,
    packed: Tensor | None = None,
    *,
    prox: bool,
    maxiter: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every row's system after ``maxiter`` steps of conjugate gradients of its own.

    Args:
        rhs: (b, rows, n); b, or A* y with ``prox``.
        start: x0 (None: 0), or z with ``prox``.
        maps: see :func:`subkern.reference.sense_normal.sense_normal`; so for the next three.
        weights: (j, n).
        gamma: (b,), or None.
        packed: not used.
        prox: solve H x = start + gamma rhs from start, else H x = rhs.
        maxiter: steps.

    Returns:
        x (b, rows, n); squared residual norms (b rows,) float64; iterations and statuses, int32.
    """
    system = cg.System(_Lines(maps, weights), rhs, gamma, start if prox else None)
    groups = rhs.shape[0] * rhs.shape[1]
    x = torch.zeros_like(rhs) if start is None else start.clone()
    r = system.residual(None if prox else start).clone()

    def apply(p: Tensor) -> tuple[Tensor, Tensor]:
        q, curvature = sense_normal(p, maps, weights, gamma)
        return q, curvature.flatten()

    state = cg.iterate(
        *(system, x, r, torch.empty_like(r), groups),
        maxiter=maxiter,
        rtol=0.0,
        atol=0.0,
        precond=None,
        replace_every=0,
        check_every=0,
        apply=apply,
        steps=cg.Steps(),
    )
    return x, state[:, RR].clone(), state[:, ITERATIONS].int(), state[:, STATUS].int()
