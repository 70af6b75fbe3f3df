"""What the Jacobi methods share: scaling, pairing, rotations, signs, completion, polish."""

from __future__ import annotations

import torch
from torch import Tensor

SWEEPS = 16  # at most; what still rotates then is reported as not converged


def widened(A: Tensor) -> Tensor:
    """float64 stays, everything else becomes float32."""
    return A.to(torch.float64 if A.dtype == torch.float64 else torch.float32)


def times_power_of_two(X: Tensor, exponent: Tensor) -> Tensor:
    """X 2^exponent in two factors: 2^149, which lifts subnormal numbers, is not representable."""
    half = torch.div(exponent, 2, rounding_mode="floor")
    one = torch.ones_like(exponent, dtype=X.dtype)
    return X * torch.ldexp(one, half) * torch.ldexp(one, exponent - half)


def cleaned(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(X, exponent, finite): A = X 2^exponent with entries in (-1, 1), zero where not finite."""
    X = widened(A)
    finite = torch.isfinite(X).all(-1).all(-1)
    X = torch.where(finite[:, None, None], X, 0)
    exponent = torch.frexp(X.abs().amax((-1, -2))).exponent
    return times_power_of_two(X, -exponent[:, None, None]), exponent, finite


def rotation(pp: Tensor, qq: Tensor, pq: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
    """(sin, tan of half) of the smaller angle that diagonalises [[pp, pq], [pq, qq]].

    Both are 0 where skipped. With them a rotation changes its columns by an increment; a rounded
    cosine would lengthen or shorten them, always by the same.
    """
    d = 0.5 * (qq - pp)
    reach = torch.hypot(d, pq)
    t = torch.where(skip, 0, pq / torch.where(skip, 1, torch.where(d < 0, d - reach, d + reach)))
    secant = torch.sqrt(1 + t * t)
    return t / secant, t / (1 + secant)


def rotated(X: Tensor, sine: Tensor, half: Tensor) -> Tensor:
    """X with columns j and h + j turned against each other by the j-th rotation."""
    p, q = X.tensor_split(2, -1)
    sine, half = sine[:, None, :], half[:, None, :]
    return torch.cat([p - sine * (q + half * p), q + sine * (p - half * q)], -1)


def advanced(X: Tensor) -> Tensor:
    """Columns moved on by a round of the tournament in which column j meets column h + j.

    The first stays, the others move around: after 2 h - 1 rounds each has met each, and all are
    back in their places.
    """
    h = X.shape[-1] // 2
    top, bottom = X[..., :h], X[..., h:]
    if h < 2:
        return X
    return torch.cat(
        [top[..., :1], bottom[..., :1], top[..., 1:-1], bottom[..., 1:], top[..., -1:]], -1
    )


def any_left(active: Tensor) -> bool:
    """Whether to go on; only the CPU is asked, an accelerator always makes all sweeps."""
    return active.device.type != "cpu" or bool(active.any())


def polished(X: Tensor) -> Tensor:
    """X (1.5 I - 0.5 X^T X): squares the distance of the columns from orthonormal."""
    return 1.5 * X - 0.5 * (X @ (X.mT @ X))


def completed(U: Tensor, null: Tensor) -> Tensor:
    """U with its ``null`` columns replaced, one by one, by what fits best.

    That is the unit vector of the row with the least leverage (the lowest index among equals),
    projected three times against the columns that are there, and normalised.
    """
    U = torch.where(null[:, None, :], 0, U)
    if U.device.type == "cpu" and not bool(null.any()):
        return U
    rows = torch.arange(U.shape[-2], device=U.device)
    for j in range(U.shape[-1]):
        leverage = U.square().sum(-1)
        least = leverage == leverage.amin(-1, keepdim=True)
        first = torch.where(least, rows, U.shape[-2]).amin(-1, keepdim=True)
        h = (rows == first).to(U.dtype)[..., None]
        for _ in range(3):
            h = h - U @ (U.mT @ h)
        h = h / torch.linalg.vector_norm(h, dim=-2, keepdim=True)
        U[..., j : j + 1] = torch.where(null[:, None, j : j + 1], h, U[..., j : j + 1])
    return U


def signs(X: Tensor) -> Tensor:
    """Per column -1 where the entry of largest magnitude (lowest index) is negative, else 1."""
    size = X.abs()
    largest = size == size.amax(-2, keepdim=True)
    rows = torch.arange(X.shape[-2], device=X.device)[:, None]
    first = torch.where(largest, rows, X.shape[-2]).amin(-2, keepdim=True)
    value = torch.where(rows == first, X, 0).sum(-2, keepdim=True)
    return torch.where(value < 0, -1.0, 1.0).to(X.dtype)
