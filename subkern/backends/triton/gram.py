"""Symmetric products by Triton: half of the tiles are computed, each is stored twice."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from subkern.backends.registry import register
from subkern.backends.triton import launch
from subkern.backends.triton.support import refusal
from subkern.reference.gram import result_dtype
from subkern.triton_kernels.configs import ceil_div, symmetric_tile

# Offsets within a tile are int32: no stride may be longer.
LONGEST_STRIDE = 1 << 23


def can_serve(*, X: Tensor, accumulate: str = "fp32", **_: object) -> str | None:
    """None, or why this call needs another backend."""
    if (reason := refusal([X], [])) is not None:
        return reason
    if accumulate != "fp32":
        return "sums in float32, and float64 was asked for"
    return None


@register("gram", "triton", can_serve)
def gram(X: Tensor, *, side: str, accumulate: str, out_dtype: torch.dtype | None) -> Tensor:
    """See :func:`subkern.ops.gram.gram`."""
    return symmetric_product(X if side == "right" else X.mT, result_dtype(X, accumulate, out_dtype))


def symmetric_product(
    x: Tensor,
    dtype: torch.dtype,
    *,
    alpha: float = 1.0,
    C: Tensor | None = None,
    gamma: float = 0.0,
    delta: float = 0.0,
) -> Tensor:
    """Alpha x^T x + gamma C + delta I per matrix, symmetric to the last bit.

    Args:
        x: (batch, depth, side) float32, bfloat16 or float16; a transposed view is read as it is.
        dtype: of the result; the sums are float32.
        alpha: factor of the product.
        C: contiguous symmetric (batch, side, side), or None.
        gamma: factor of C.
        delta: added to the diagonal.
    """
    import triton.language as tl

    from subkern.triton_kernels.gram import _gram_symmetric_kernel

    kinds = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
    batch, depth, side = x.shape
    unit = 1 if x.stride(2) == 1 or side == 1 else 0
    if x.stride(1 + unit) != 1 or max(x.stride()[1:]) > LONGEST_STRIDE:
        x, unit = x.contiguous(), 1
    # Sums are stored in float32 first where the kernel has no store for the dtype.
    stored = dtype if dtype in kinds else torch.float32
    out = torch.empty((batch, side, side), dtype=stored, device=x.device)
    if out.numel():
        stride = x.stride(2 - unit)
        vector = _vector(x, side if unit == 1 else depth, stride, x.stride(0))
        tile = symmetric_tile(side, x.element_size(), vector * x.element_size() == 16)
        rows = ceil_div(side, tile.m)
        with launch.on(x.device):
            launch.run(
                _gram_symmetric_kernel,
                (rows * (rows + 1) // 2, batch),
                x_ptr=x,
                c_ptr=out if C is None else C,
                out_ptr=out,
                side=side,
                depth=depth,
                x_stride=stride,
                x_step=x.stride(0),
                c_stride=side,
                c_step=side * side,
                alpha=float(alpha),
                gamma=float(gamma),
                delta=float(delta),
                UNIT=unit,
                VECTOR=vector,
                OUT_VECTOR=_vector(out, side)
                if C is None
                else math.gcd(_vector(out, side), _vector(C, side)),
                ADD=C is not None,
                OUT=kinds[stored],
                BLOCK=tile.m,
                BLOCK_K=tile.k,
                num_warps=tile.warps,
                num_stages=tile.stages,
            )
    return out.to(dtype)


def _vector(t: Tensor, *sizes: int) -> int:
    """Elements that an aligned access may take, given sizes and strides that must be multiples."""
    return math.gcd(16 // t.element_size(), t.data_ptr() // t.element_size(), *sizes)
