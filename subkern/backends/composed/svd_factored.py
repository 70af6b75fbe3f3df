"""Singular value decomposition of a product held as factors: its Gram matrix and one polish."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from subkern.backends.composed.matrix import SMALL, small_op
from subkern.backends.composed.support import cuda_refusal, full_float32
from subkern.backends.registry import register
from subkern.reference.svd_factored import NONFINITE

# Rows closer to each other than this after scaling are left to orthonormalize and its repair.
NEAR = 0.5
# With no value below this share of the largest, float32 tells the eigenvectors of W W^T apart.
EVEN = 2.0**-7
# What the rows of E^T W may share, in eps sqrt(k) ||W||: a third of what the contract leaves.
LEAK = 10


def can_serve(name: str, *, S: Tensor, **_: object) -> str | None:
    """None, or why this call needs another backend."""
    if S.dtype == torch.float64:
        return "serves float32 and bfloat16 factors, got torch.float64; the reference takes them"
    if name == "cuda":
        return cuda_refusal(S)
    return None if S.device.type == "cpu" else f"serves CPU tensors only, got {S.device.type}"


def _triangle(Y: Tensor, backend: str) -> tuple[Tensor, Tensor, bool]:
    """(X, L, whether L is good): rows of Y scaled to length one, and X X^T = L L^T."""
    norms = torch.linalg.vector_norm(Y, dim=1, keepdim=True)
    X = Y / norms.clamp_min(torch.finfo(Y.dtype).tiny)
    G = small_op("gram", backend, X[None], side="left", accumulate="fp32", out_dtype=None)[0]
    L, failed = torch.linalg.cholesky_ex(G)
    return X, L, not int(failed) and float(L.diagonal().min()) > NEAR


def _orthonormal_rows(Y: Tensor, backend: str) -> Tensor:
    """Rows of Y (k, n), long ones first and nearly orthogonal but for rounding, made orthonormal.

    Scaled to length one they are the identity plus what rounding left, and one Cholesky step is
    enough. Rows that are rounding alone may point anywhere: those go the long way.
    """
    if Y.device.type == "cpu":
        X, L, good = _triangle(Y, backend)
        if good:
            return torch.linalg.solve_triangular(L, X, upper=False)
    return small_op("orthonormalize", backend, Y.mT[None], method="auto")[0][0].mT


def _svd_in_float32(W: Tensor, backend: str) -> tuple[Tensor, Tensor, Tensor] | None:
    """(Eh, s, Vh) of W (k, n), or None where eigenvectors mix by more than the contract leaves.

    Values are lengths of rows of E^T W, which are good to rounding of the largest; roots of
    eigenvalues are not.
    """
    G = small_op("gram", backend, W[None], side="left", accumulate="fp32", out_dtype=None)[0]
    Eh = torch.linalg.eigh(G)[1].mT
    Y = Eh @ W
    s, order = torch.linalg.vector_norm(Y, dim=1).sort(descending=True, stable=True)
    X, L, good = _triangle(Y[order], backend)
    eps = torch.finfo(W.dtype).eps
    leak = torch.linalg.matrix_norm(s[:, None] * L.tril(-1))
    if not good or not leak <= LEAK * eps * len(s) ** 0.5 * torch.linalg.vector_norm(s):
        return None
    return Eh[order], s, torch.linalg.solve_triangular(L, X, upper=False)


def _svd_of_wide(W: Tensor, even: bool, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    """(Eh, s, Vh) of W (k, n), k <= n, with vectors as rows; ``even``: float32 may be enough."""
    if W.shape[0] <= SMALL:
        E, s, Vh, _ = small_op("svd_small", backend, W[None])
        return E[0].mT, s[0], Vh[0]
    if even and (found := _svd_in_float32(W, backend)) is not None:
        return found
    G = small_op("gram", backend, W[None], side="left", accumulate="fp64", out_dtype=None)[0]
    w, E = torch.linalg.eigh(G)
    Eh = E.mT.flip(0).float()
    return Eh, w.flip(0).clamp_min(0).sqrt().float(), _orthonormal_rows(Eh @ W, backend)


def _is_even(S: Tensor) -> bool:
    """Whether no value is far below the others; a host that need not wait looks."""
    return S.device.type == "cpu" and len(S) > SMALL and bool(S.min() >= EVEN * S.max())


def _one(Uh: Tensor, S: Tensor, Vh: Tensor, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    """(Uh, s, Vh) of finite factors (k, m), (k,), (k, n)."""
    (k, m), n = Uh.shape, Vh.shape[1]
    if m > n:
        Vh, S, Uh = _one(Vh, S, Uh, backend)
        return Uh, S, Vh
    if k == m:
        return _svd_of_wide((Uh * S[:, None]).mT @ Vh, _is_even(S), backend)
    factored = [small_op("orthonormalize", backend, X.mT[None], method="auto") for X in (Uh, Vh)]
    (Q, R, _), (P, T, _) = factored
    Eh, s, Fh = _svd_of_wide((R[0] * S) @ T[0].mT, _is_even(S), backend)
    return Eh @ Q[0].mT, s, Fh @ P[0].mT


def _times_power(x: Tensor, exponent: Tensor) -> Tensor:
    """Scale x by 2^exponent, by two factors of which each is a float32."""
    half = exponent.div(2, rounding_mode="floor")
    one = torch.ones_like(half, dtype=torch.float32)
    return x * torch.ldexp(one, half) * torch.ldexp(one, exponent - half)


def _scaled(x: Tensor) -> tuple[Tensor, Tensor]:
    """(x 2^-e, e) with the largest magnitude in [1/2, 1)."""
    largest = x.abs().amax() if x.numel() else x.sum()
    exponent = torch.frexp(largest).exponent
    return _times_power(x, -exponent), exponent


def svd_factored(
    Uh: Tensor, S: Tensor, Vh: Tensor, *, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.svd_factored`; products of a batch are taken one by one."""
    made: list[list[Tensor]] = [[], [], []]
    good = torch.ones(len(S), dtype=torch.bool, device=S.device)
    for i in range(len(S)):
        factors = [t[i].float() for t in (Uh, S, Vh)]
        good[i] = torch.stack([t.isfinite().all() for t in factors]).all()
        # Squares and products must neither overflow nor vanish in the sums.
        (left, a), (values, b), (right, c) = (
            _scaled(torch.where(good[i], t, 0.0)) for t in factors
        )
        with full_float32():
            left, values, right = _one(left, values, right, backend)
        if len(values):
            entry = left.gather(1, left.abs().argmax(1, keepdim=True))
            sign = torch.where(entry < 0, -1.0, 1.0)
            left, right = left * sign, right * sign
        results = (left, _times_power(values, a + b + c), right)
        for kept, t in zip(made, results, strict=True):
            kept.append(torch.where(good[i], t, torch.nan).contiguous())
    shapes = (Uh.shape, S.shape, Vh.shape)
    stacked = [
        torch.stack(kept) if kept else S.new_empty(shape, dtype=torch.float32)
        for kept, shape in zip(made, shapes, strict=True)
    ]
    return stacked[0], stacked[1], stacked[2], (~good).int() * NONFINITE


for _name in ("cpu", "cuda"):
    register("svd_factored", _name, partial(can_serve, _name), composed=True)(
        partial(svd_factored, backend=_name)
    )
