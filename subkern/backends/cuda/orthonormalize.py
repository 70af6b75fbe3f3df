"""Orthonormal columns on CUDA: up to 64 by our kernels, more by torch's products between them."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.composed import orthonormalize as composed
from subkern.backends.cpu.tensors import CODES
from subkern.backends.cuda.device import queue
from subkern.backends.registry import register

MOST_COLUMNS = 64


def refusal(Y: Tensor) -> str | None:
    """Why the kernels cannot take matrices like these, or None."""
    if (reason := native.refusal("_CUDA")) is not None:
        return reason
    served = "cpu" if native.module("_CUDA").emulated else "cuda"
    if Y.device.type != served:
        return f"serves {served} tensors only, got {Y.device.type}"
    if Y.dtype not in CODES:
        return f"serves float32 and bfloat16, got {Y.dtype}"
    return None


def can_serve(*, Y: Tensor, method: str = "auto", **_: object) -> str | None:
    """None, or why this call needs another backend."""
    if method != "auto":
        return f"has no kernel for method {method!r}"
    return refusal(Y)


@register("orthonormalize", "cuda", can_serve)
def orthonormalize(Y: Tensor, *, method: str) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.orthonormalize.orthonormalize`."""
    b, m, k = Y.shape
    if k > MOST_COLUMNS:
        return composed.orthonormalize(Y, factor=factor, repair=repair)
    Q = torch.empty((b, m, k), dtype=torch.float32, device=Y.device)
    R = torch.empty((b, k, k), dtype=torch.float32, device=Y.device)
    info = torch.zeros(b, dtype=torch.int32, device=Y.device)
    if not Y.numel():
        return Q, R, info
    kernels, where = native.module("_CUDA"), queue(Y.device)
    scratch_bytes = kernels.orthonormalize_workspace(
        count=b, rows=m, cols=k, device=where["device"]
    )
    scratch = torch.empty(scratch_bytes, dtype=torch.uint8, device=Y.device)
    kernels.orthonormalize(
        **_matrices(Y),
        Q=Q.data_ptr(),
        R=R.data_ptr(),
        info=info.data_ptr(),
        scratch=scratch.data_ptr(),
        scratch_bytes=scratch_bytes,
        **where,
    )
    return Q, R, info


def factor(G: Tensor, good: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """As ``reference.orthonormalize.factor``: torch's Cholesky, ours where a pivot fails."""
    R, report = torch.linalg.cholesky_ex(G, upper=True)
    pivots = R.diagonal(dim1=1, dim2=2).square()
    passed = good & (pivots > threshold * G.diagonal(dim1=1, dim2=2))
    wanted = (report != 0) | ~passed.all(1)
    R, good = R.contiguous(), good.clone(memory_format=torch.contiguous_format)
    cholesky_(R, good, G.contiguous(), wanted.to(torch.int32), threshold=threshold)
    return R, good


def repair(Y: Tensor, Q: Tensor, R: Tensor, good: Tensor) -> tuple[Tensor, Tensor]:
    """As ``reference.orthonormalize.repair``, with Y and Q in float32."""
    b, m, k = Y.shape
    Q, R = Q.contiguous(), R.contiguous()
    first = torch.where(good.all(1), k, (~good).int().argmax(1)).to(torch.int32)
    exponent = torch.zeros((b, k), dtype=torch.int32, device=Y.device)
    column = torch.empty((b, m), dtype=torch.float32, device=Y.device)
    coefficients = torch.empty((b, k), dtype=torch.float64, device=Y.device)
    native.module("_CUDA").orthonormalize_repair(
        **_matrices(Y),
        Q=Q.data_ptr(),
        R=R.data_ptr(),
        exponent=exponent.data_ptr(),
        first=first.data_ptr(),
        column=column.data_ptr(),
        coefficients=coefficients.data_ptr(),
        **queue(Y.device),
    )
    return Q, R


def cholesky_(R: Tensor, good: Tensor, G: Tensor, wanted: Tensor, *, threshold: float) -> None:
    """Factor Gram matrices whose pivots may fail; what is not ``wanted`` stays as it is.

    Args:
        R: (b, k, k) float64, contiguous; where wanted it becomes upper triangular with R^T R = G on
            the good columns, rows of failed columns zero.
        good: (b, k) bool, contiguous; cleared where a pivot fails.
        G: (b, k, k) float64, contiguous; its upper triangle is read.
        wanted: (b,) int32; zero leaves a matrix alone. Read on the device.
        threshold: pivots at or below this share of the squared column norm fail.
    """
    native.module("_CUDA").orthonormalize_cholesky(
        G=G.data_ptr(),
        wanted=wanted.data_ptr(),
        threshold=threshold,
        count=G.shape[0],
        cols=G.shape[1],
        R=R.data_ptr(),
        good=good.data_ptr(),
        **queue(G.device),
    )


def _matrices(Y: Tensor) -> dict[str, int]:
    """A batch as the bindings take it."""
    b, m, k = Y.shape
    call = {"Y": Y.data_ptr(), "dtype": CODES[Y.dtype], "count": b, "rows": m, "cols": k}
    names = ("matrix_stride", "row_stride", "col_stride")
    return call | dict(zip(names, Y.stride(), strict=True))
