"""Whole solves under a line mask on the CPU: a strip of rows stays in the cache for all steps."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.sense_normal import can_pack, image_refusal, memory, shape_of, transforms
from subkern.backends.cpu.tensors import empty
from subkern.backends.registry import register
from subkern.reference import sense_solve as reference


def can_serve(
    *,
    rhs: Tensor,
    start: Tensor | None,
    maps: Tensor,
    weights: Tensor,
    gamma: Tensor | None,
    **_: object,
) -> str | None:
    """None, or why this call needs another backend."""
    if weights.dim() != 2:
        return "solves rows alone, which a line mask leaves independent"
    reason = can_pack(maps=maps, weights=weights)
    return reason or image_refusal(maps, weights, gamma, rhs, start)


@register("sense_solve", "cpu", can_serve)
def sense_solve(
    rhs: Tensor,
    start: Tensor | None,
    maps: Tensor,
    weights: Tensor,
    gamma: Tensor | None,
    packed: Tensor | None,
    *,
    prox: bool,
    maxiter: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`subkern.reference.sense_solve.sense_solve`."""
    if not transforms(weights):
        return reference.sense_solve(rhs, start, maps, weights, gamma, prox=prox, maxiter=maxiter)
    groups = rhs.shape[0] * rhs.shape[1]
    x = empty(*rhs.shape, dtype=torch.complex64)
    rr = empty(groups, dtype=torch.float64)
    iterations, status = (empty(groups, dtype=torch.int32) for _ in range(2))
    arguments, kept = memory(len(rhs), maps, weights, packed)
    shape = shape_of(maps, weights)
    shape.pop("line")
    native.module().sense_solve(
        **shape,
        images=len(rhs),
        rhs=rhs.data_ptr(),
        start=0 if start is None else start.data_ptr(),
        gamma=0 if gamma is None else gamma.data_ptr(),
        prox=prox,
        maxiter=maxiter,
        x=x.data_ptr(),
        rr=rr.data_ptr(),
        iterations=iterations.data_ptr(),
        status=status.data_ptr(),
        **arguments,
    )
    del kept
    return x, rr, iterations, status
