"""Linear layer whose weight is held as singular vectors and values, without its dense gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from subkern.ops._checks import check_choice, check_flag, check_tensor

MODES = ("auto", "factored", "merged")
TILE_ROWS = 128  # of the dense gradient exist at a time in merged mode


def merged_pays(tokens: int, m: int, n: int, k: int, r: int, *, training: bool) -> bool:
    """Whether it takes fewer operations to build W = Uh^T diag(S) Vh and to multiply by that.

    In multiply-adds for T tokens, forward alone and in training with the backward pass::

        factored   T k (m + n)          2 T k (m + n) + T r (m + n)
        merged     m n k + T m n        2 m n k + 3 T m n + r m n

    A square layer of full rank is merged from T = k tokens on, in training from about T = 2k.
    """
    if not training:
        return m * n * (k + tokens) < tokens * k * (m + n)
    return m * n * (2 * k + r + 3 * tokens) < tokens * (2 * k + r) * (m + n)


def merge(Uh: Tensor, S: Tensor, Vh: Tensor) -> Tensor:
    """W = Uh^T diag(S) Vh, (m, n), in the dtype of the vectors."""
    return (Uh * S.to(Uh.dtype)[:, None]).mT @ Vh


class _Factored(torch.autograd.Function):
    """Two thin products each way; what they leave behind gives all gradients."""

    @staticmethod
    def forward(ctx: Any, x, Uh, S, Vh, U, V, sampled, enhanced):  # type: ignore[override]
        B = x @ Vh.mT
        ctx.save_for_backward(x, Uh, S, Vh, sampled, B)
        ctx.enhanced = enhanced
        return (B * S.to(B.dtype)) @ Uh

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        x, Uh, S, Vh, sampled, B = ctx.saved_tensors
        A = dy @ Uh.mT
        dx = dS = dU = dV = None
        if ctx.needs_input_grad[2]:
            dS = (A * B).sum(dim=0, dtype=S.dtype)
        if ctx.needs_input_grad[4]:
            dU = _scaled(B[:, sampled].mT @ dy, S, sampled, ctx.enhanced)
        if ctx.needs_input_grad[5]:
            dV = _scaled(A[:, sampled].mT @ x, S, sampled, ctx.enhanced)
        if ctx.needs_input_grad[0]:
            dx = (A * S.to(A.dtype)) @ Vh
        return dx, None, dS, None, dU, dV, None, None


class _Merged(torch.autograd.Function):
    """Dense products with W; its gradient G = dy^T x passes by in tiles of rows."""

    @staticmethod
    def forward(ctx: Any, x, Uh, S, Vh, U, V, sampled, W, enhanced):  # type: ignore[override]
        ctx.save_for_backward(x, Uh, S, Vh, sampled, W)
        ctx.enhanced = enhanced
        return x @ W.mT

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        x, Uh, S, Vh, sampled, W = ctx.saved_tensors
        dx = dy @ W if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[i] for i in (2, 4, 5)):
            return dx, None, None, None, None, None, None, None, None
        Us = Uh[sampled]
        dS = torch.zeros_like(S)
        dU, dV = torch.empty_like(Us), Vh.new_zeros((len(sampled), Vh.shape[1]))
        for start in range(0, dy.shape[1], TILE_ROWS):
            rows = slice(start, start + TILE_ROWS)
            G = dy[:, rows].mT @ x
            P = G @ Vh.mT
            dS += (Uh[:, rows] * P.mT).sum(dim=1, dtype=S.dtype)
            dU[:, rows] = P[:, sampled].mT
            dV += Us[:, rows] @ G
        dU = _scaled(dU, S, sampled, ctx.enhanced)
        dV = _scaled(dV, S, sampled, ctx.enhanced)
        return dx, None, dS, None, dU, dV, None, None, None


def _scaled(gradient: Tensor, S: Tensor, sampled: Tensor, enhanced: bool) -> Tensor:
    """The gradient of autograd carries S_i; the enhanced one of Sparse Spectral Training does not."""
    return gradient if enhanced else gradient * S[sampled].to(gradient.dtype)[:, None]
