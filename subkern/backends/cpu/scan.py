"""The scan on the CPU: blocks of all matrices on threads."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import CODES, empty
from subkern.backends.registry import register


def dense_refusal(X: Tensor) -> str | None:
    """None where each matrix lies in memory without gaps, row by row or column by column."""
    _, m, n = X.shape
    _, row, col = X.stride()
    by_rows = (col == 1 or n <= 1) and (row == n or m <= 1)
    by_columns = (row == 1 or m <= 1) and (col == m or n <= 1)
    return None if by_rows or by_columns else "needs matrices without gaps"


def can_serve(*, X: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    if X.device.type != "cpu":
        return f"serves CPU tensors only, got {X.device.type}"
    if X.dtype not in CODES:
        return f"serves float32 and bfloat16, got {X.dtype}"
    return dense_refusal(X) or native.refusal()


@register("scan", "cpu", can_serve)
def scan(X: Tensor) -> Tensor:
    """See :func:`subkern.reference.scan.scan`."""
    b, m, n = X.shape
    kernels = native.module()
    results = empty(b, 3, dtype=torch.float64)
    scratch = empty(kernels.scan_workspace(count=b, n=m * n), dtype=torch.uint8)
    kernels.scan(
        X=X.data_ptr(),
        dtype=CODES[X.dtype],
        count=b,
        n=m * n,
        matrix_stride=X.stride(0),
        results=results.data_ptr(),
        scratch=scratch.data_ptr(),
        scratch_bytes=scratch.numel(),
        threads=torch.get_num_threads(),
    )
    return results
