"""The normal operator of Cartesian multi-coil imaging; what CartesianSense calls, not public."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._library import define_op


def _fake_pack(maps: Tensor, weights: Tensor, *, backend: str) -> Tensor:
    floats = torch.library.get_ctx().new_dynamic_size()  # each backend has its own tables
    return maps.new_empty((floats,), dtype=torch.float32)


def _fake(
    v: Tensor,
    maps: Tensor,
    weights: Tensor,
    gamma: Tensor | None,
    packed: Tensor | None,
    *,
    backend: str,
) -> tuple[Tensor, Tensor]:
    groups = v.shape[: 2 if weights.dim() == 2 else 1]
    return v.new_empty(v.shape), v.new_empty(groups, dtype=torch.float64)


sense_pack = define_op(
    "sense_pack", "(Tensor maps, Tensor weights, *, str backend) -> Tensor", _fake_pack
)
sense_normal = define_op(
    "sense_normal",
    "(Tensor v, Tensor maps, Tensor weights, Tensor? gamma, Tensor? packed, *, str backend) "
    "-> (Tensor, Tensor)",
    _fake,
)
