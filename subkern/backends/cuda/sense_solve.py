"""Whole solves under a line mask on CUDA: one launch, a block for each row."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.sense_normal import image_refusal, transforms
from subkern.backends.cuda.device import queue
from subkern.backends.cuda.sense_normal import arguments, can_pack
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


@register("sense_solve", "cuda", can_serve)
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
    groups, device = rhs.shape[0] * rhs.shape[1], rhs.device
    x = torch.empty(rhs.shape, dtype=rhs.dtype, device=device)
    rr = torch.empty(groups, dtype=torch.float64, device=device)
    iterations = torch.empty(groups, dtype=torch.int32, device=device)
    status = torch.empty(groups, dtype=torch.int32, device=device)
    call, kept = arguments(len(rhs), maps, weights, packed)
    call.pop("line")
    native.module("_CUDA").sense_solve(
        **call,
        rhs=rhs.data_ptr(),
        start=0 if start is None else start.data_ptr(),
        gamma=0 if gamma is None else gamma.data_ptr(),
        prox=prox,
        maxiter=maxiter,
        x=x.data_ptr(),
        rr=rr.data_ptr(),
        iterations=iterations.data_ptr(),
        status=status.data_ptr(),
        **queue(device),
    )
    del kept
    return x, rr, iterations, status
