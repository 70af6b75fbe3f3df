"""Linear layer whose weight is held as singular vectors and values, without its dense gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from subkern.ops._checks import check_flag, check_tensor

_OP = "spectral_linear"


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


def tile_rows(m: int) -> int:
    """Rows of the dense gradient that exist at a time: a quarter, 128 to 256, but never all.

    A product of 128 rows packs the tokens twice as often and took twice as long at m = 1024.
    """
    return min(256, max(128, m // 4), (m + 1) // 2)


def merge(Uh: Tensor, S: Tensor, Vh: Tensor) -> Tensor:
    """W = Uh^T diag(S) Vh, (m, n), in the dtype of the vectors."""
    return (Uh * S.to(Uh.dtype)[:, None]).mT @ Vh


class _Factored(torch.autograd.Function):
    """Two thin products each way; what they leave behind gives all gradients."""

    @staticmethod
    def forward(ctx: Any, x, Uh, S, Vh, U, V, sampled, enhanced):
        B = x @ Vh.mT
        ctx.save_for_backward(x, Uh, S, Vh, sampled, B)
        ctx.enhanced = enhanced
        return (B * S.to(B.dtype)) @ Uh

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
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
    def forward(ctx: Any, x, Uh, S, Vh, U, V, sampled, W, enhanced):
        ctx.save_for_backward(x, Uh, S, Vh, sampled, W)
        ctx.enhanced = enhanced
        return x @ W.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        x, Uh, S, Vh, sampled, W = ctx.saved_tensors
        dx = dy @ W if ctx.needs_input_grad[0] else None
        if not any(ctx.needs_input_grad[i] for i in (2, 4, 5)):
            return dx, None, None, None, None, None, None, None, None
        if dy.shape[1] >= x.shape[1]:
            dS, dU, dV = _tiled(dy, x, Uh, Vh, S.dtype, sampled)
        else:  # of G^T
            dS, dV, dU = _tiled(x, dy, Vh, Uh, S.dtype, sampled)
        dU = _scaled(dU, S, sampled, ctx.enhanced)
        dV = _scaled(dV, S, sampled, ctx.enhanced)
        return dx, None, dS, None, dU, dV, None, None, None


def _tiled(
    dy: Tensor, x: Tensor, Uh: Tensor, Vh: Tensor, kind: torch.dtype, sampled: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(dS, dU, dV) from G = dy^T x, of which a few rows exist at a time; dS of dtype ``kind``."""
    m = dy.shape[1]
    Us, tile = Uh[sampled], tile_rows(m)
    dS = torch.zeros(len(Uh), dtype=kind, device=Uh.device)
    dU, dV = torch.empty_like(Us), Vh.new_zeros((len(sampled), Vh.shape[1]))
    for start in range(0, m, tile):
        rows = slice(start, start + tile)
        G = dy[:, rows].mT @ x
        P = G @ Vh.mT
        dS += (Uh[:, rows] * P.mT).sum(dim=1, dtype=kind)
        dU[:, rows] = P[:, sampled].mT
        dV += Us[:, rows] @ G
    return dS, dU, dV


def _scaled(gradient: Tensor, S: Tensor, sampled: Tensor, enhanced: bool) -> Tensor:
    """The gradient of autograd carries S_i, the enhanced one does not."""
    return gradient if enhanced else gradient * S[sampled].to(gradient.dtype)[:, None]


def spectral_linear(
    x: Tensor,
    Uh: Tensor,
    S: Tensor,
    Vh: Tensor,
    U_sampled: Tensor,
    V_sampled: Tensor,
    sampled: Tensor,
    bias: Tensor | None = None,
    *,
    weight: Tensor | None = None,
    enhanced: bool = True,
) -> Tensor:
    """Apply a linear layer whose weight is W = Uh^T diag(S) Vh: y = x W^T + bias.

    Gradients, with G = dL/dW, u_i and v_i the rows of ``Uh`` and ``Vh``::

        dS_i = u_i^T G v_i    for every i,         dx = dy W
        dU_i = G v_i, dV_i = G^T u_i               for i in ``sampled``: the enhanced gradients,
                                                   those of autograd divided by S_i

    G itself (m x n) is never held: from the factors, A = dy Uh^T and B = x Vh^T give dS as column
    sums of A B, dU = B^T dy and dV = A^T x; with ``weight``, G passes by in tiles of rows.
    Rules of Zhao et al., Sparse Spectral Training, 2024 (arXiv:2405.15481).

    Args:
        x: (*batch, n) of the dtype of the factors (under autocast, of any).
        Uh: (k, m), a left singular vector per row; receives no gradient.
        S: (k,) singular values; receives dS.
        Vh: (k, n), a right singular vector per row; receives no gradient.
        U_sampled: (r, m), rows ``sampled`` of ``Uh``; receives dU. Its values are not read.
        V_sampled: (r, n), rows ``sampled`` of ``Vh``; receives dV. Its values are not read.
        sampled: (r,) int64, distinct, in [0, k).
        bias: (m,) or None.
        weight: W as :func:`merge` makes it, when :func:`merged_pays`; None goes by the factors.
        enhanced: False for the gradients of autograd.

    Returns:
        y (*batch, m).

    Raises:
        TypeError, ValueError: an argument of the wrong kind or shape.

    Backends: torch's products, on every device.

    Example:
        >>> import torch
        >>> Uh, S, Vh = torch.eye(2), torch.tensor([3.0, 2.0]), torch.eye(2)
        >>> U, V, rows = Uh[:1].clone(), Vh[:1].clone(), torch.tensor([0])
        >>> spectral_linear(torch.ones(1, 2), Uh, S, Vh, U, V, rows).tolist()
        [[3.0, 2.0]]
    """
    _check(x, Uh, S, Vh, U_sampled, V_sampled, sampled, weight)
    check_flag(_OP, "enhanced", enhanced)
    device = x.device.type
    if not torch.amp.is_autocast_available(device):
        return _applied(x, Uh, S, Vh, U_sampled, V_sampled, sampled, bias, weight, enhanced)
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, Uh, Vh = x.to(dtype), Uh.to(dtype), Vh.to(dtype)
        weight = None if weight is None else weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    with torch.autocast(device, enabled=False):
        return _applied(x, Uh, S, Vh, U_sampled, V_sampled, sampled, bias, weight, enhanced)


def _applied(
    x: Tensor,
    Uh: Tensor,
    S: Tensor,
    Vh: Tensor,
    U: Tensor,
    V: Tensor,
    sampled: Tensor,
    bias: Tensor | None,
    weight: Tensor | None,
    enhanced: bool,
) -> Tensor:
    """The layer on checked arguments of one dtype."""
    factors = (x.reshape(-1, x.shape[-1]), Uh, S, Vh, U, V, sampled)
    if weight is None:
        y = _Factored.apply(*factors, enhanced)
    else:
        y = _Merged.apply(*factors, weight, enhanced)
    y = y.view(*x.shape[:-1], Uh.shape[1])
    return y if bias is None else y + bias


def _check(
    x: Tensor,
    Uh: Tensor,
    S: Tensor,
    Vh: Tensor,
    U: Tensor,
    V: Tensor,
    sampled: Tensor,
    weight: Tensor | None,
) -> None:
    for name, t in dict(x=x, Uh=Uh, S=S, Vh=Vh, U_sampled=U, V_sampled=V, sampled=sampled).items():
        check_tensor(_OP, name, t)
    for name, t in dict(Uh=Uh, Vh=Vh).items():
        if t.dim() != 2:
            raise ValueError(f"{_OP}: {name} must be a matrix, got shape {tuple(t.shape)}")
    (k, m), n, r = Uh.shape, Vh.shape[1], sampled.numel()
    if x.dim() < 1 or x.shape[-1] != n:
        raise ValueError(f"{_OP}: x must have {n} features, got shape {tuple(x.shape)}")
    shapes = dict(S=(S, (k,)), Vh=(Vh, (k, n)), U_sampled=(U, (r, m)), V_sampled=(V, (r, n)))
    shapes["sampled"] = (sampled, (r,))
    if weight is not None:
        shapes["weight"] = (weight, (m, n))
    for name, (t, shape) in shapes.items():
        if t.shape != shape:
            raise ValueError(f"{_OP}: {name} must have shape {shape}, got {tuple(t.shape)}")
    # Under autocast x, the vectors and W are narrowed first, whatever they came in.
    alike = dict(x=x, Vh=Vh) | ({} if weight is None else {"weight": weight})
    cast = torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(
        x.device.type
    )
    for name, t in (dict(Vh=Vh) if cast else alike).items():
        if t.dtype != Uh.dtype:
            raise TypeError(f"{_OP}: {name} must be {Uh.dtype}, got {t.dtype}")
    for name, t in (alike | dict(S=S, U_sampled=U, V_sampled=V, sampled=sampled)).items():
        if t.device != Uh.device:
            raise ValueError(f"{_OP}: {name} must be on {Uh.device}, got {t.device}")
    if sampled.dtype != torch.int64:
        raise TypeError(f"{_OP}: sampled must be torch.int64, got {sampled.dtype}")
