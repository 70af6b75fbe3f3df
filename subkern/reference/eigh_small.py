"""Eigenvalues and eigenvectors of small symmetric matrices by Jacobi, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.reference import _jacobi as jacobi

NONFINITE, UNCONVERGED = 1, 4


def _symmetric(C: Tensor) -> Tensor:
    """The matrix whose lower triangle is that of C; the rest of C is not looked at."""
    lower = torch.ones(C.shape[-2:], dtype=torch.bool, device=C.device).tril()
    return torch.where(lower, C, C.mT)


def eigh_small(C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(w, V, info) of (b, n, n); see :func:`subkern.ops.eigh_small.eigh_small`."""
    batch, n = C.shape[0], C.shape[-1]
    if n == 0:
        dtype = jacobi.widened(C[:0]).dtype
        w, V = (torch.empty(x, dtype=dtype, device=C.device) for x in ((batch, 0), (batch, 0, 0)))
        return w, V, torch.zeros(batch, dtype=torch.int32, device=C.device)
    X, exponent, finite = jacobi.cleaned(_symmetric(C))
    eps = torch.finfo(X.dtype).eps
    # Below this an entry off the diagonal moves no eigenvalue by a rounding error.
    floor = eps / (4 * n**0.5) * torch.linalg.vector_norm(X, dim=(-2, -1))
    odd, h = n % 2, (n + n % 2) // 2
    X = torch.nn.functional.pad(X, (0, odd, 0, odd))
    V = torch.eye(n, dtype=X.dtype, device=X.device).expand(batch, n, n)
    V = torch.nn.functional.pad(V, (0, odd))
    active = torch.full((batch,), n > 1, device=X.device)
    for _ in range(jacobi.SWEEPS if n > 1 else 0):
        seen = torch.zeros_like(active)
        for _ in range(2 * h - 1):
            d = torch.diagonal(X, dim1=-2, dim2=-1)
            pq = torch.diagonal(X, offset=h, dim1=-2, dim2=-1)
            skip = (pq.abs() <= floor[:, None]) | ~active[:, None]
            turn = jacobi.rotation(d[:, :h], d[:, h:], pq, skip)
            X = jacobi.rotated(jacobi.rotated(X, *turn).mT, *turn)
            # The rotation is made for this entry to vanish; what is left of it is rounding.
            zero = torch.diag_embed(torch.where(skip, 0, 1), offset=h)
            X = torch.where((zero + zero.mT) > 0, 0, X)
            X = jacobi.advanced(jacobi.advanced(X).mT)
            V = jacobi.advanced(jacobi.rotated(V, *turn))
            seen |= ~skip.all(-1)
        active = active & seen
        if not jacobi.any_left(active):
            break
    w, order = torch.sort(torch.diagonal(X, dim1=-2, dim2=-1)[:, :n], dim=-1, stable=True)
    V = V[..., :n].gather(-1, order[:, None, :].expand(-1, n, -1))
    V = jacobi.polished(V)
    V = V * jacobi.signs(V)
    w = jacobi.times_power_of_two(w, exponent[:, None])
    info = torch.where(finite, UNCONVERGED * active, NONFINITE).to(torch.int32)
    nan = float("nan")
    return w.masked_fill(~finite[:, None], nan), V.masked_fill(~finite[:, None, None], nan), info
