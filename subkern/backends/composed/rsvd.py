"""Randomized singular value decomposition by the other ops of a backend."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from subkern.backends.composed.matrix import product, small_op, widened
from subkern.backends.composed.topk_subspace import can_serve
from subkern.backends.registry import register
from subkern.reference.rsvd import factors


def rsvd(
    A: Tensor,
    q0: Tensor | None,
    *,
    rank: int,
    oversample: int,
    iters: int,
    seed: int,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.rsvd`."""
    subspace = partial(torch.ops.subkern.topk_subspace.default, backend=backend)
    orthonormal = partial(small_op, "orthonormalize", backend)
    run = partial(factors, widened(A), q0, subspace, orthonormal, product)
    return run(rank=rank, oversample=oversample, iters=iters, seed=seed)


for _name in ("cpu", "cuda"):
    register("rsvd", _name, partial(can_serve, _name, "A"), composed=True)(
        partial(rsvd, backend=_name)
    )
