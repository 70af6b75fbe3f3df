"""Refresh engines: how the basis of a projected gradient is found.

All three return the basis of the canonical form: X is k x q, P is k x r with orthonormal columns.
Both iterations apply the symmetric positive definite map X X^T + SHIFT ||X||_F^2 I: the shift moves
no eigenvector and bounds the condition of what Cholesky QR factors, whatever the rank of X, so that
no failure has to be seen by the host. Only "svd" and the last stage of "rsvd" (torch.linalg.eigh)
read the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BASES = ("svd", "warm", "rsvd")

OVERSAMPLE = 16
COLD_ITERATIONS = 3
WARM_ITERATIONS = 2
SHIFT = 1e-6  # share of ||X||_F^2; directions below it are not told apart


def refresh_basis(
    kind: str,
    G: Tensor,
    rank: int,
    side: str,
    previous: list[Tensor] | None,
    seed: tuple[int, ...],
    *,
    on_host: bool = False,
) -> tuple[list[Tensor], Tensor]:
    """New basis of the gradient, [P] or [P, Q] for side "full", and whether it may be used.

    Args:
        kind: "svd" (exact), "rsvd" (randomized), "warm" (power iteration from ``previous``, rsvd
            when there is none).
        G: gradient, m x n.
        rank: columns of the basis, at most min(m, n).
        side: "left", "right" or "full".
        previous: for "warm", bases to start from, in the order of the result, or None.
        seed: (seed, parameter index, refresh count): the same on every rank and after resume.
        on_host: whether the host may read a zero gradient to save the work; there is no basis then.

    Returns:
        (bases, ok): float32 bases (float64 for a float64 gradient), and a 0-dim bool tensor beside
        them: False when the gradient is zero or not finite, or the iteration broke down.
    """
    X, ok = _scaled(G)
    if on_host and not bool(ok):
        return [], ok
    if kind == "svd":
        U, _, Vh = torch.linalg.svd(X, full_matrices=False)
        both = [U[:, :rank], Vh[:rank].T]
        chosen = {"left": both[:1], "right": both[1:], "full": both}[side]
        return [basis.contiguous() for basis in chosen], ok
    views = {"left": [X], "right": [X.T], "full": [X, X.T]}[side]
    bases = []
    for i, view in enumerate(views):
        if rank == view.shape[0]:
            P = torch.eye(rank, dtype=X.dtype, device=X.device)
        elif previous is None or kind == "rsvd":
            P, ok = _randomized(view, rank, (*seed, i), ok)
        else:
            P, ok = _iterate(view, previous[i].to(X.dtype), WARM_ITERATIONS, ok)
        bases.append(P)
    return bases, ok


def _scaled(G: Tensor) -> tuple[Tensor, Tensor]:
    """Largest magnitude brought to [0.5, 1) by an exact power of two, and whether that can be.

    A gradient that is zero or not finite becomes zeros, so that nothing after it meets a NaN.
    """
    X = G.to(torch.float64 if G.dtype == torch.float64 else torch.float32)
    low, high = torch.aminmax(X)  # both are NaN where anything is
    largest = torch.maximum(high, -low)
    ok = (largest > 0) & (largest < float("inf"))
    _, exponent = torch.frexp(torch.where(ok, largest, 1.0).to(torch.float64))
    # Two halves: 2^-exponent alone may overflow for a tiny gradient.
    half = torch.div(exponent, 2, rounding_mode="floor")
    X = torch.where(ok, X, torch.zeros((), dtype=X.dtype, device=X.device))
    return X.mul_(_power_of_two(-half, X.dtype)).mul_(_power_of_two(half - exponent, X.dtype)), ok


def _power_of_two(exponent: Tensor, dtype: torch.dtype) -> Tensor:
    """2^exponent from its bits: a device's pow need not be exact."""
    if dtype == torch.float64:
        return ((exponent.to(torch.int64) + 1023) << 52).view(torch.float64)
    return ((exponent.to(torch.int32) + 127) << 23).view(torch.float32)


def _iterate(X: Tensor, P: Tensor, passes: int, ok: Tensor) -> tuple[Tensor, Tensor]:
    """Power iteration Y = X (X^T P) + shift P; every pass is orthonormalized.

    float32 products leave noise of about 1e-7 ||X||_F^2 in Y, the shift is above it; a start of
    full rank keeps Y's condition below about 1 / SHIFT.
    """
    norm = torch.linalg.vector_norm(X).to(torch.float64).clamp_min(0.25)  # 0.5 unless X is zeros
    shift = SHIFT * norm.square()
    for _ in range(passes):
        Y = (X @ (X.T @ P)).to(torch.float64) + shift * P.to(torch.float64)
        Q, done = orthonormalize(Y)
        # A pass that broke down is left out: the eigenvalues after it must not meet a NaN.
        P, ok = torch.where(done, Q.to(X.dtype), P), ok & done
    return P.contiguous(), ok


def _randomized(X: Tensor, rank: int, seed: tuple[int, ...], ok: Tensor) -> tuple[Tensor, Tensor]:
    """Power iteration from an oversampled random start, then its leading directions."""
    width = min(rank + OVERSAMPLE, *X.shape)
    P, ok = _iterate(X, random_start((X.shape[0], width), X, seed), COLD_ITERATIONS, ok)
    B = P.T @ X
    # Rayleigh-Ritz: keep the leading directions of the oversampled basis.
    _, vectors = torch.linalg.eigh(B.to(torch.float64) @ B.to(torch.float64).T)
    return P @ vectors[:, -rank:].flip(1).to(P.dtype), ok


def random_start(shape: Sequence[int], like: Tensor, seed: tuple[int, ...]) -> Tensor:
    """Orthonormalized Gaussian columns from a generator of their own on ``like``'s device.

    The same on every rank and after a resume on the same kind of device; CPU and GPU differ.
    """
    mixed = 0
    for part in seed:
        mixed = (mixed * 0x9E3779B97F4A7C15 + part + 1) % 2**63
    generator = torch.Generator(like.device).manual_seed(mixed)
    gaussian = torch.randn(*shape, generator=generator, device=like.device)
    return orthonormalize(gaussian)[0].to(like.dtype)


def orthonormalize(Y: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal columns, float64, that span Y (rows >= columns), and whether that succeeded.

    Cholesky QR twice in float64 without a host read: good up to a condition of 1e7. What fails
    holds garbage and answers False.
    """
    Q = Y.to(torch.float64)
    ok = torch.ones((), dtype=torch.bool, device=Y.device)
    for _ in range(2):
        L, info = torch.linalg.cholesky_ex(Q.T @ Q)
        Q = torch.linalg.solve_triangular(L, Q.T, upper=False).T
        ok = ok & (info == 0)
    return Q.contiguous(), ok & torch.isfinite(Q).all()
