"""Sums of basis vectors on the CPU: blocks of all groups on threads."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import empty
from subkern.backends.cpu.vectors import combine_refusal
from subkern.backends.registry import register


def can_serve(*, z: Tensor, V: Tensor, coefficients: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    if z.device.type != "cpu":
        return f"serves CPU tensors only, got {z.device.type}"
    return combine_refusal(z, V, coefficients) or native.refusal()


@register("combine", "cpu", can_serve)
def combine(z: Tensor, V: Tensor, coefficients: Tensor) -> Tensor:
    """See :func:`subkern.reference.combine.combine`."""
    groups, m, n = V.shape
    out = empty(groups, n)
    native.module().combine(
        z=z.data_ptr(),
        V=V.data_ptr(),
        coefficients=coefficients.data_ptr(),
        groups=groups,
        m=m,
        n=n,
        out=out.data_ptr(),
        threads=torch.get_num_threads(),
    )
    return out
