"""Matrix products of the low-rank step on the CPU.

float32 products go through torch.mm in slices of the summed dimension: measured on MKL, a product
summed over at most 512 gives the same bits for any thread count, a longer one does not. Vector
shapes and small matrices, where MKL splits sums by threads at any length, have our own kernel.
bfloat16 products use the matrix units where the machine has them; elsewhere panels are widened to
float32, which is faster than an emulated bfloat16 product and sums in higher precision.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from subkern.backends import native

SUM_SLICE = 512
SMALL_SIDE = 128
SMALL_RANK = 2
PANEL_BYTES = 4 << 20


@functools.cache
def has_bf16_units() -> bool:
    """Whether torch.mm of bfloat16 runs on matrix units here."""
    return bool(torch.cpu._is_amx_tile_supported())


def _is_small(m: int, n: int, k: int) -> bool:
    return min(m, n) <= SMALL_SIDE or k <= SMALL_RANK


def scratch_dtype(dtype: torch.dtype, m: int, n: int, rank: int) -> torch.dtype:
    """Storage of R: float32 unless the products take bfloat16 operands as they are."""
    native_bf16 = dtype == torch.bfloat16 and has_bf16_units() and not _is_small(m, n, rank)
    return torch.bfloat16 if native_bf16 else torch.float32


def product(A: Tensor, B: Tensor, out: Tensor, beta: float = 0.0) -> None:
    """Set out to beta * out + A @ B; the bits do not depend on the thread count."""
    if A.dtype != torch.float32:
        torch.addmm(out, A, B, beta=beta, out=out)
        return
    (m, k), n = A.shape, B.shape[1]
    if _is_small(m, n, k):
        _native_product(A, B, out, beta)
        return
    if beta not in (0.0, 1.0):
        # MKL rounds any other beta differently on one thread and on two.
        out.mul_(beta)
        beta = 1.0
    for start in range(0, k, SUM_SLICE):
        stop = min(start + SUM_SLICE, k)
        torch.addmm(out, A[:, start:stop], B[start:stop], beta=1.0 if start else beta, out=out)


def _native_product(A: Tensor, B: Tensor, out: Tensor, beta: float) -> None:
    if out.stride(1) != 1:  # C^T = B^T A^T
        A, B, out = B.T, A.T, out.T
    native.module().gemm(
        A=A.data_ptr(),
        a_row_stride=A.stride(0),
        a_col_stride=A.stride(1),
        B=B.data_ptr(),
        b_row_stride=B.stride(0),
        b_col_stride=B.stride(1),
        C=out.data_ptr(),
        c_row_stride=out.stride(0),
        m=A.shape[0],
        n=B.shape[1],
        k=A.shape[1],
        beta=beta,
        threads=torch.get_num_threads(),
    )


def panels(height: int, width: int) -> Iterator[slice]:
    """Slices of ``width`` such that a float32 panel of ``height`` stays within PANEL_BYTES."""
    step = max(64, PANEL_BYTES // (4 * max(height, 1)) // 64 * 64)
    for start in range(0, width, step):
        yield slice(start, min(start + step, width))


def project(X: Tensor, P: Tensor, side: str, out: Tensor) -> None:
    """Set out to P^T X (left) or X P (right), widening a bfloat16 X panel by panel."""
    if X.dtype == P.dtype:
        if side == "left":
            product(P.T, X, out)
        else:
            product(X, P, out)
        return
    height, width = X.shape if side == "left" else X.shape[::-1]
    for part in panels(height, width):
        if side == "left":
            product(P.T, X[:, part].to(P.dtype), out[:, part])
        else:
            product(X[part].to(P.dtype), P, out[part])
