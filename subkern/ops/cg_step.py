"""The start and a step of conjugate gradients; what solvers call, not public."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._library import define_inplace_op, define_op
from subkern.reference.cg_step import COLUMNS


def _fake(r: Tensor, b: Tensor | None, rtol: float, atol: float, *, backend: str) -> Tensor:
    return r.new_empty((r.shape[0], COLUMNS), dtype=torch.float64)


cg_start = define_op(
    "cg_start", "(Tensor r, Tensor? b, float rtol, float atol, *, str backend) -> Tensor", _fake
)
cg_step_ = define_inplace_op(
    "cg_step",
    "(Tensor(a!) x, Tensor(b!) r, Tensor(c!) p, Tensor q, Tensor? curvature, Tensor(d!) state, *, "
    "str backend) -> ()",
    written=("x", "r", "p", "state"),
)
cg_step_residual_ = define_inplace_op(
    "cg_step_residual",
    "(Tensor(a!) r, Tensor q, Tensor curvature, Tensor(b!) state, *, str backend) -> ()",
    written=("r", "state"),
)
cg_step_direction_ = define_inplace_op(
    "cg_step_direction",
    "(Tensor(a!) x, Tensor(b!) p, Tensor z, Tensor state, *, str backend) -> ()",
    written=("x", "p"),
)
