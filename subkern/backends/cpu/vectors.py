"""What the kernels on groups of vectors ask of their tensors, on every device.

Each function takes the arguments of its op and answers None, or why no kernel can take them. That
the device is the backend's own is the backend's question.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.reference.cg_step import COLUMNS

FP32, FP64 = torch.float32, torch.float64


def _refusal(t: Tensor, like: Tensor, dtype: torch.dtype, shape: Sequence[int]) -> str | None:
    """None where ``t`` has this dtype and shape, without gaps, on the device of ``like``."""
    if t.dtype != dtype:
        kind = "vectors" if dtype == FP32 else "scalars"
        return f"serves {str(dtype).removeprefix('torch.')} {kind}, got {t.dtype}"
    if t.shape != tuple(shape):
        return f"needs shapes that agree, got {tuple(t.shape)} in place of {tuple(shape)}"
    if t.device != like.device:
        return f"needs tensors on one device, got {like.device} and {t.device}"
    return None if t.is_contiguous() else f"needs contiguous tensors, got strides {t.stride()}"


def dot_refusal(u: Tensor, *others: Tensor) -> str | None:
    """None where all are (groups, n) float32 of one shape."""
    if u.dim() != 2:
        return f"needs vectors of shape (groups, n), got {tuple(u.shape)}"
    reasons = (_refusal(v, u, FP32, u.shape) for v in (u, *others))
    return next(filter(None, reasons), None)


def residual_refusal(r: Tensor, q: Tensor, curvature: Tensor, state: Tensor) -> str | None:
    """See :func:`subkern.reference.cg_step.cg_step_residual_`."""
    return (
        dot_refusal(r, q)
        or _refusal(curvature, r, FP64, r.shape[:1])
        or _refusal(state, r, FP64, (r.shape[0], COLUMNS))
    )


def direction_refusal(x: Tensor, p: Tensor, z: Tensor, state: Tensor) -> str | None:
    """See :func:`subkern.reference.cg_step.cg_step_direction_`."""
    return dot_refusal(x, p, z) or _refusal(state, x, FP64, (x.shape[0], COLUMNS))


def step_refusal(
    x: Tensor, r: Tensor, p: Tensor, q: Tensor, curvature: Tensor | None, state: Tensor
) -> str | None:
    """See :func:`subkern.reference.cg_step.cg_step_`."""
    given = None if curvature is None else _refusal(curvature, x, FP64, x.shape[:1])
    return dot_refusal(x, r, p, q) or given or _refusal(state, x, FP64, (x.shape[0], COLUMNS))


def combine_refusal(z: Tensor, V: Tensor, coefficients: Tensor) -> str | None:
    """See :func:`subkern.reference.combine.combine`."""
    return dot_refusal(z) or (
        _refusal(V, z, FP32, (z.shape[0], *V.shape[1:2], z.shape[1]))
        or _refusal(coefficients, z, FP64, V.shape[:2])
    )
