"""Matrix products of the low-rank step on the CPU.

The products come from our own kernels, which fuse their neighbours: they widen bfloat16 while they
pack, add up |X_j|^2 in passing, and write the weights from the register tile. torch.mm serves where
nothing is fused and it is faster: large float32 products, and large bfloat16 products on machines
with matrix units. It is then called in slices of the summed dimension: measured on MKL, a product
summed over at most 512 gives the same bits for any thread count, a longer one does not; neither do
vector shapes and small matrices of any length.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import CODES, empty

SUM_SLICE = 512
SMALL_SIDE = 128
SMALL_RANK = 2
TORCH_WORK = 1 << 28  # multiply-adds from which torch's float32 products are faster than ours
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


def workspace(m: int, n: int, rank: int, side: str) -> Tensor:
    """Scratch of :func:`project` and :func:`update` for matrices of this shape."""
    floats = native.module().lowrank_product_workspace(
        rows=m,
        cols=n,
        rank=rank,
        column_axis=1 if side == "left" else 0,
        threads=torch.get_num_threads(),
    )
    return empty(floats)


def project(
    X: Tensor, P: Tensor, side: str, out: Tensor, scratch: Tensor, norms: Tensor | None = None
) -> None:
    """Set out to P^T X (left) or X P (right), and norms to |X_j|^2 per canonical column."""
    if out.dtype == torch.bfloat16 or (norms is None and _torch_is_faster(X, P)):
        if side == "left":
            _product(P.T, X, out)
        else:
            _product(X, P, out)
        if norms is None:
            return
        P = P[:, :0]
    m, n = X.shape
    native.module().lowrank_project(
        X=X.data_ptr(),
        x_dtype=CODES[X.dtype],
        x_row_stride=X.stride(0),
        x_col_stride=X.stride(1),
        P=P.data_ptr(),
        p_dtype=CODES[P.dtype],
        p_row_stride=P.stride(0),
        p_col_stride=P.stride(1),
        R=out.data_ptr(),
        norms=norms.data_ptr() if norms is not None else 0,
        rows=m,
        cols=n,
        rank=P.shape[1],
        column_axis=1 if side == "left" else 0,
        workspace=scratch.data_ptr(),
        workspace_floats=scratch.numel(),
        threads=torch.get_num_threads(),
    )


def update(
    W: Tensor,
    P: Tensor,
    D: Tensor,
    side: str,
    decay: float,
    scratch: Tensor,
    X: Tensor,
    coef: Tensor | None,
) -> None:
    """W <- decay W + P D (left) or D P^T (right) + coef_j X_j, rounded once."""
    left = side == "left"
    if D.dtype == torch.bfloat16 and coef is not None:
        _update_by_panels(W, P, D, side, decay, X, coef)
        return
    if D.dtype == torch.bfloat16 or (coef is None and _torch_is_faster(W, P)):
        A, B = (P, D) if left else (D, P.T)
        _product(A, B, W, beta=decay)
        return
    m, n = W.shape
    native.module().lowrank_update(
        W=W.data_ptr(),
        w_dtype=CODES[W.dtype],
        w_row_stride=W.stride(0),
        w_col_stride=W.stride(1),
        P=P.data_ptr(),
        p_dtype=CODES[P.dtype],
        p_row_stride=P.stride(0),
        p_col_stride=P.stride(1),
        D=D.data_ptr(),
        X=X.data_ptr() if coef is not None else 0,
        x_dtype=CODES[X.dtype],
        x_row_stride=X.stride(0),
        x_col_stride=X.stride(1),
        coef=coef.data_ptr() if coef is not None else 0,
        rows=m,
        cols=n,
        rank=P.shape[1],
        column_axis=1 if left else 0,
        decay=decay,
        workspace=scratch.data_ptr(),
        workspace_floats=scratch.numel(),
        threads=torch.get_num_threads(),
    )


def _torch_is_faster(X: Tensor, P: Tensor) -> bool:
    """For a float32 product of X's shape by the basis with nothing to fuse."""
    (m, n), rank = X.shape, P.shape[1]
    plain = X.dtype == P.dtype == torch.float32
    # Every product of a step sums over, or spans, m, n or rank: none of them may be small.
    return plain and min(m, n, rank) > SMALL_SIDE and m * n * rank >= TORCH_WORK


def _product(A: Tensor, B: Tensor, out: Tensor, beta: float = 0.0) -> None:
    """Set out to beta * out + A @ B by torch; the bits do not depend on the thread count."""
    if A.dtype != torch.float32:
        torch.addmm(out, A, B, beta=beta, out=out)
        return
    if beta not in (0.0, 1.0):
        # MKL rounds any other beta differently on one thread and on two.
        out.mul_(beta)
        beta = 1.0
    k = A.shape[1]
    for start in range(0, k, SUM_SLICE):
        stop = min(start + SUM_SLICE, k)
        torch.addmm(out, A[:, start:stop], B[start:stop], beta=1.0 if start else beta, out=out)


def _panels(height: int, width: int) -> Iterator[slice]:
    """Slices of ``width`` such that a float32 panel of ``height`` stays within PANEL_BYTES."""
    step = max(64, PANEL_BYTES // (4 * max(height, 1)) // 64 * 64)
    for start in range(0, width, step):
        yield slice(start, min(start + step, width))


def _update_by_panels(
    W: Tensor, P: Tensor, D: Tensor, side: str, decay: float, X: Tensor, coef: Tensor
) -> None:
    """Products on matrix units, then the weights: torch cannot fold coef X into one rounding."""
    left = side == "left"
    height, width = W.shape if left else W.shape[::-1]
    for part in _panels(height, width):
        columns = (slice(None), part) if left else (part, slice(None))
        Wp, Xp = W[columns], X[columns]
        T = empty(*Wp.shape, dtype=D.dtype)
        if left:
            _product(P, D[:, part], T)
        else:
            _product(D[part], P.T, T)
        native.module().lowrank_adam_apply(
            W=Wp.data_ptr(),
            w_dtype=CODES[W.dtype],
            w_row_stride=Wp.stride(0),
            w_col_stride=Wp.stride(1),
            T=T.data_ptr(),
            t_dtype=CODES[T.dtype],
            t_row_stride=T.stride(0),
            t_col_stride=T.stride(1),
            X=Xp.data_ptr(),
            x_dtype=CODES[X.dtype],
            x_row_stride=Xp.stride(0),
            x_col_stride=Xp.stride(1),
            coef=coef[part].data_ptr(),
            coef_axis=1 if left else 0,
            rows=Wp.shape[0],
            cols=Wp.shape[1],
            decay=decay,
            threads=torch.get_num_threads(),
        )
