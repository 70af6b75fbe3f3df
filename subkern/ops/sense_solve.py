"""Whole solves with row coupling under a line mask; what CartesianSense calls, not public."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._library import define_op


def _fake(
    rhs: Tensor,
    start: Tensor | None,
    maps: Tensor,
    weights: Tensor,
    gamma: Tensor | None,
    packed: Tensor | None,
    *,
    prox: bool,
    maxiter: int,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    groups = (rhs.shape[0] * rhs.shape[1],)
    return (
        rhs.new_empty(rhs.shape),
        rhs.new_empty(groups, dtype=torch.float64),
        rhs.new_empty(groups, dtype=torch.int32),
        rhs.new_empty(groups, dtype=torch.int32),
    )


sense_solve = define_op(
    "sense_solve",
    "(Tensor rhs, Tensor? start, Tensor maps, Tensor weights, Tensor? gamma, Tensor? packed, *, "
    "bool prox, int maxiter, str backend) -> (Tensor, Tensor, Tensor, Tensor)",
    _fake,
)
