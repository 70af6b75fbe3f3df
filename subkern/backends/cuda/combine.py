"""Sums of basis vectors on CUDA: one launch."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.vectors import combine_refusal
from subkern.backends.cuda.device import queue
from subkern.backends.cuda.vectors import device_refusal
from subkern.backends.registry import register


def can_serve(*, z: Tensor, V: Tensor, coefficients: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    return device_refusal(z) or combine_refusal(z, V, coefficients)


@register("combine", "cuda", can_serve)
def combine(z: Tensor, V: Tensor, coefficients: Tensor) -> Tensor:
    """See :func:`subkern.reference.combine.combine`."""
    groups, m, n = V.shape
    out = torch.empty((groups, n), dtype=torch.float32, device=z.device)
    native.module("_CUDA").combine(
        z=z.data_ptr(),
        V=V.data_ptr(),
        coefficients=coefficients.data_ptr(),
        groups=groups,
        m=m,
        n=n,
        out=out.data_ptr(),
        **queue(z.device),
    )
    return out
