"""Sums of basis vectors by Triton: one launch."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends.cpu.vectors import combine_refusal
from subkern.backends.registry import register
from subkern.backends.triton import launch
from subkern.backends.triton.support import refusal
from subkern.backends.triton.vectors import Parts


def can_serve(*, z: Tensor, V: Tensor, coefficients: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    return combine_refusal(z, V, coefficients) or refusal([z], [])


@register("combine", "triton", can_serve)
def combine(z: Tensor, V: Tensor, coefficients: Tensor) -> Tensor:
    """See :func:`subkern.reference.combine.combine`."""
    from subkern.triton_kernels.combine import _combine_sum_kernel

    out = torch.empty(z.shape, dtype=torch.float32, device=z.device)
    if not z.numel():
        return out
    parts = Parts(z, out, V)
    with launch.on(z.device):
        launch.run(
            _combine_sum_kernel,
            parts.grid,
            z_ptr=z,
            v_ptr=V,
            coefficients_ptr=coefficients,
            out_ptr=out,
            m=V.shape[1],
            **parts.arguments(),
        )
    return out
