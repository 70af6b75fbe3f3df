"""Inner products of groups of numbers; what solvers call, not public."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._library import define_op


def _fake(u: Tensor, v: Tensor, *, backend: str) -> Tensor:
    return u.new_empty((u.shape[0],), dtype=torch.float64)


group_dot = define_op("group_dot", "(Tensor u, Tensor v, *, str backend) -> Tensor", _fake)
