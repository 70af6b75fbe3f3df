"""Refresh engines: how the basis of a projected gradient is found.

All three return the basis of the canonical form: X is k x q, P is k x r with orthonormal columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

BASES = ("svd", "warm", "rsvd")

OVERSAMPLE = 16
COLD_ITERATIONS = 2
WARM_ITERATIONS = 2


def refresh_basis(
    kind: str, G: Tensor, rank: int, side: str, previous: list[Tensor] | None, seed: tuple[int, ...]
) -> list[Tensor] | None:
    """New basis of the gradient: [P], or [P, Q] for side "full"; None to keep the old one.

    Args:
        kind: "svd" (exact), "rsvd" (randomized), "warm" (power iteration from ``previous``, rsvd
            when there is none).
        G: gradient, m x n.
        rank: columns of the basis, at most min(m, n).
        side: "left", "right" or "full".
        previous: for "warm", bases to start from, in the order of the result, or None.
        seed: (seed, parameter index, refresh count): the same on every rank and after resume.

    Returns:
        float32 bases (float64 for a float64 gradient), or None when the gradient is zero or not
        finite.
    """
    X = _scaled(G)
    if X is None:
        return None
    if kind == "svd":
        U, _, Vh = torch.linalg.svd(X, full_matrices=False)
        both = [U[:, :rank], Vh[:rank].T]
        chosen = {"left": both[:1], "right": both[1:], "full": both}[side]
        return [basis.contiguous() for basis in chosen]
    views = {"left": [X], "right": [X.T], "full": [X, X.T]}[side]
    bases = []
    for i, view in enumerate(views):
        start = None if previous is None or kind == "rsvd" else previous[i].to(X.dtype)
        bases.append(_iterate(view, rank, start, (*seed, i)))
    return bases


def _scaled(G: Tensor) -> Tensor | None:
    """The gradient with its largest magnitude brought to [0.5, 1) by an exact power of two."""
    X = G.to(torch.float64 if G.dtype == torch.float64 else torch.float32)
    largest = float(X.abs().max())
    if largest == 0.0 or not largest < float("inf"):
        return None
    _, exponent = torch.frexp(torch.tensor(largest, dtype=torch.float64))
    # Two halves: 2^-exponent alone may overflow for a tiny gradient.
    half = int(exponent) // 2
    return X * 2.0**-half * 2.0 ** (half - int(exponent))


def _iterate(X: Tensor, rank: int, start: Tensor | None, seed: tuple[int, ...]) -> Tensor:
    """Power iteration Y = X (X^T P): two passes from a start, else a randomized range finder."""
    k, q = X.shape
    if rank == k:
        return torch.eye(k, dtype=X.dtype, device=X.device)
    if start is not None:
        P = start
        for _ in range(WARM_ITERATIONS):
            P = orthonormalize(X @ (X.T @ P))
        return P
    width = min(rank + OVERSAMPLE, k, q)
    P = orthonormalize(X @ _gaussian(q, width, X, seed))
    for _ in range(COLD_ITERATIONS):
        P = orthonormalize(X @ orthonormalize(X.T @ P))
    B = P.T @ X
    # Rayleigh-Ritz: keep the leading directions of the oversampled basis.
    _, vectors = torch.linalg.eigh(B.double() @ B.double().T)
    return P @ vectors[:, -rank:].flip(1).to(P.dtype)


def _gaussian(rows: int, cols: int, like: Tensor, seed: tuple[int, ...]) -> Tensor:
    """Gaussian matrix drawn on the CPU from its own generator: equal on every device and rank."""
    mixed = 0
    for part in seed:
        mixed = (mixed * 0x9E3779B97F4A7C15 + part + 1) % 2**63
    generator = torch.Generator().manual_seed(mixed)
    return torch.randn(rows, cols, generator=generator).to(like)


def orthonormalize(Y: Tensor) -> Tensor:
    """Orthonormal columns that span Y (m >= k): Cholesky QR twice, the first Gram in float64.

    Householder QR serves the rank-deficient and ill-conditioned case that Cholesky reports.
    """
    wide = Y.double()
    gram = wide.T @ wide
    L, failed = torch.linalg.cholesky_ex(gram)
    # Pivots below this share of the column's energy are round-off of a float32 column.
    floor = (4 * torch.finfo(torch.float32).eps) ** 2 * gram.diagonal()
    if int(failed) or bool((L.diagonal().square() <= floor).any()):
        return torch.linalg.qr(Y)[0]
    Q = torch.linalg.solve_triangular(L, wide.T, upper=False).T
    gram = Q.T @ Q
    L = torch.linalg.cholesky(gram)
    return torch.linalg.solve_triangular(L, Q.T, upper=False).T.to(Y.dtype).contiguous()
