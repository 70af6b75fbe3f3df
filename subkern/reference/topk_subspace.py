"""Leading singular subspaces, exact or by power iteration, batched, in plain PyTorch.

X is the matrix (k x q) whose left singular subspace is wanted: G, or its transpose for "right".
"""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.reference.orthonormalize import orthonormalize

NONFINITE, DEFICIENT = 1, 2  # bits of info, as in subkern.ops
# Share of the largest value below which another one is rounding: of the columns' singular values in
# an iteration, of their squares in a Gram matrix.
RESOLUTION = 16.0
RELAX = 0.8  # part of the harmonic mean of the columns' energies that is taken off at most


def products(A: Tensor, B: Tensor) -> Tensor:
    """A B per matrix, one at a time: a batched product's bits may depend on the batch."""
    out = A.new_empty((A.shape[0], A.shape[1], B.shape[2]))
    for a, b, c in zip(A, B, out, strict=True):
        torch.mm(a, b, out=c)
    return out


def squared_norms(X: Tensor) -> Tensor:
    """||X||_F^2 of each matrix in float64."""
    norms = [torch.linalg.vector_norm(x, dtype=torch.float64) for x in X]
    return torch.stack(norms).square() if norms else X.new_empty((0,), dtype=torch.float64)


def largest_magnitude(X: Tensor) -> Tensor:
    """Largest |entry| of each matrix; NaN where one is NaN, 0 for an empty matrix."""
    if not X.numel():
        return X.new_zeros((X.shape[0],))
    # Both are NaN where anything is. One at a time: over a dimension it takes five times as long.
    low, high = map(torch.stack, zip(*(torch.aminmax(x) for x in X), strict=True))
    return torch.maximum(high, -low)


def power_of_two(largest: Tensor) -> Tensor:
    """2^-e, shape (b, 1, 1), that brings the largest magnitude to [0.5, 1); 1 where there is none.

    Made from its bits: a device's pow need not be exact. Kept within 2^-126 and 2^126, so that
    neither it nor its inverse is subnormal: the ends of the range come to [2^-24, 4).
    """
    good = (largest > 0) & (largest < float("inf"))
    _, exponent = torch.frexp(torch.where(good, largest, 0.5).double())
    if largest.dtype == torch.float64:
        bits = (1023 - exponent.to(torch.int64)).clamp(1, 2045) << 52
        return bits.view(torch.float64)[:, None, None]
    bits = (127 - exponent.to(torch.int32)).clamp(1, 253) << 23
    return bits.view(torch.float32)[:, None, None]


def random_columns(rows: int, columns: int, seed: int, like: Tensor) -> Tensor:
    """Gaussian columns of length about 1, the same for every matrix of a batch (1, rows, columns).

    From a generator of their own on ``like``'s device; CPU and GPU draw different numbers.
    """
    generator = torch.Generator(like.device).manual_seed(seed)
    drawn = torch.randn(rows, columns, generator=generator, dtype=torch.float32, device=like.device)
    return drawn.to(like.dtype)[None] * max(rows, 1) ** -0.5


def start(
    shape: torch.Size, previous: Tensor | None, rank: int, oversample: int, seed: int, like: Tensor
) -> Tensor:
    """Columns to start from: ``previous``, or Gaussian ones, and ``oversample`` Gaussian ones."""
    b, k, q = shape
    fresh = max(rank, min(rank + oversample, k, q)) - (rank if previous is not None else 0)
    drawn = random_columns(k, fresh, seed, like).expand(b, k, fresh)
    return drawn if previous is None else torch.cat([previous, drawn], 2) if fresh else previous


def below(squares: Tensor, level: float) -> Tensor:
    """Whether one of the falling values is at most ``level`` times the first."""
    return (squares <= level * squares[:, :1]).any(1)


def unit_columns(b: int, k: int, columns: int, like: Tensor) -> Tensor:
    """The first unit vectors, for every matrix of a batch."""
    eye = torch.eye(k, columns, dtype=like.dtype, device=like.device)
    return eye.expand(b, k, columns).contiguous()


def nothing(like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """What stands for a result that was not asked for."""
    return like.new_empty((0,), dtype=dtype)


def _ritz(X: Tensor, Q: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Leading directions of X within span(Q), in order, and their squared singular values."""
    B = products(Q.mT, X).double()
    w, V = torch.linalg.eigh(products(B, B.mT))
    V = V[:, :, -rank:].flip(2).to(Q.dtype) if rank else V[:, :, :0].to(Q.dtype)
    return products(Q, V), w.clamp_min(0).flip(1)[:, :rank]


def _exact(X: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Leading left singular vectors of X, squared values, and whether some are rounding.

    From the Gram matrix of the shorter side. The left vectors of a tall X are X V, orthonormalized.
    """
    b, k, q = X.shape
    eps = torch.finfo(X.dtype).eps
    w, V = torch.linalg.eigh((products(X, X.mT) if k <= q else products(X.mT, X)).double())
    short = min(rank, k, q)
    squares = torch.cat([w.clamp_min(0).flip(1)[:, :short], w.new_zeros(b, rank - short)], 1)
    deficient = below(squares, RESOLUTION * eps)
    Q = V.flip(2)[:, :, :short].to(X.dtype)
    if k > q:
        Y = torch.cat([products(X, Q), X.new_zeros(b, k, rank - short)], 2)
        Q, _, _ = orthonormalize(Y, method="auto")
    return Q, squares, deficient


def relaxation(P: Tensor) -> Tensor:
    """S such that Q <- orth(X X^T Q - Q S) goes further than without S and never loses energy.

    P = Q^T X X^T Q for orthonormal Q, float64. Any S = s(P) with 0 <= s(x) <= x / 2 keeps the
    energy from dropping (docs/decisions.md). Here s(x) = c (1 - (1 + x / 8c)^-4): x / 2 for small
    x, at most c, a part of the harmonic mean of P's eigenvalues: about what the weakest columns
    have, which are the ones that have not settled.
    """
    x, V = torch.linalg.eigh(P)
    x = x.clamp_min(0) + torch.finfo(P.dtype).tiny
    c = RELAX / (1 / x).mean(1, keepdim=True)
    s = c * (1 - (1 + x / (8 * c)) ** -4)
    return products(V * s[:, None, :], V.mT)


def _iterate(X: Tensor, Q: Tensor, iters: int, relax: bool) -> tuple[Tensor, Tensor]:
    """Q <- orthonormal basis of X (X^T Q), again and again, and whether columns are rounding."""
    eps = torch.finfo(X.dtype).eps
    for _ in range(iters):
        Z = products(X.mT, Q)
        if relax:
            P = products(Z.mT.double(), Z.double())
            Y = products(X, Z) - products(Q, relaxation(P).to(X.dtype))
        else:
            if Z.shape[1] >= Z.shape[2]:  # X's condition instead of its square
                Z, _, _ = orthonormalize(Z, method="auto")
            Y = products(X, Z)
        Q, R, events = orthonormalize(Y, method="auto")
    size = R.diagonal(dim1=1, dim2=2)
    weak = (size <= RESOLUTION * eps * R.norm(dim=1).amax(1, keepdim=True)).any(1)
    return Q, weak | ((events & DEFICIENT) != 0)


def _rotation(Q: Tensor, previous: Tensor | None) -> Tensor:
    """Orthogonal O that brings Q O nearest to ``previous``."""
    if previous is None:
        return unit_columns(Q.shape[0], Q.shape[2], Q.shape[2], Q)
    U, _, Vh = torch.linalg.svd(products(Q.mT, previous))
    return products(U, Vh)


def topk_subspace(
    G: Tensor,
    q_prev: Tensor | None,
    *,
    rank: int,
    side: str,
    mode: str,
    iters: int,
    oversample: int,
    relax: bool,
    order: bool,
    align: str,
    energy: str,
    out_dtype: torch.dtype | None,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(basis, energy, info, values, rotation); see :func:`subkern.ops.topk_subspace`.

    ``mode`` is "identity", "exact" or "iterate"; ``energy`` is "none", "start" or "basis".
    """
    wide = torch.float64 if G.dtype == torch.float64 else torch.float32
    X = (G if side == "left" else G.mT).to(wide)
    b, k, _ = X.shape
    previous = None if q_prev is None else q_prev.to(wide)
    largest = largest_magnitude(X)
    finite = largest < float("inf")
    if previous is not None:
        finite = finite & torch.isfinite(previous).flatten(1).all(1)
    ok = (finite & (largest > 0))[:, None, None]
    scale = power_of_two(largest)
    X = torch.where(ok, X * scale, 0.0)
    fallback = unit_columns(b, k, rank, X) if previous is None else previous
    first = torch.where(ok, fallback, unit_columns(b, k, rank, X))  # no NaN from here on

    squares = deficient = None
    if mode == "identity":
        Q = unit_columns(b, k, rank, X)
        squares = X.new_zeros((b, rank)) if order else None  # of matrices without entries
    elif mode == "exact":
        Q, squares, deficient = _exact(X, rank)
    else:
        warm = None if previous is None else first
        columns = start(X.shape, warm, rank, oversample, seed, X)
        Q, deficient = _iterate(X, columns, iters, relax)
        if order or Q.shape[2] > rank:
            Q, squares = _ritz(X, Q, rank)
            deficient = below(squares, (RESOLUTION * torch.finfo(wide).eps) ** 2)

    rotation = nothing(X)
    if align == "procrustes":
        rotation = _rotation(Q, None if previous is None else first)
        Q = products(Q, rotation)
    elif align == "sign" and previous is not None:
        Q = torch.where((Q * first).sum(1, keepdim=True) < 0, -Q, Q)
    share = nothing(X, torch.float64)
    if energy != "none":
        share = squared_norms(products(X.mT, Q if energy == "basis" else first))
    return finish(
        *(Q, fallback, ok, finite, deficient, share, squared_norms(X)),
        values=squares.sqrt() / scale[:, :, 0] if order and squares is not None else None,
        rotation=rotation,
        out_dtype=out_dtype,
    )


def finish(
    Q: Tensor,
    fallback: Tensor,
    ok: Tensor,
    finite: Tensor,
    deficient: Tensor | None,
    share: Tensor,
    whole: Tensor,
    *,
    values: Tensor | None,
    rotation: Tensor,
    out_dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Results in their dtypes; zero for a zero matrix, NaN for one that is not finite.

    Args:
        Q: (b, k, rank) the basis.
        fallback: the basis where not ``ok``.
        ok: (b, 1, 1), finite and not zero.
        finite: (b,).
        deficient: (b,) or None for a basis of the whole space.
        share: (b,) what is captured of ``whole``, or empty.
        whole: (b,) ||X||_F^2, in the units of ``share``.
        values: (b, rank) or None.
        rotation: (b, rank, rank) or empty.
        out_dtype: of the basis; None for that of Q.
    """
    good = ok.flatten()
    lost = ~good if deficient is None else deficient | ~good
    info = torch.where(finite, lost * DEFICIENT, NONFINITE).to(torch.int32)
    if share.numel():
        share = torch.where(good, share / torch.where(good, whole, 1.0), 0.0)
        share = torch.where(finite, share, float("nan"))
    if values is None:
        values = nothing(Q)
    else:
        values = torch.where(good[:, None], values, 0.0)
        values = torch.where(finite[:, None], values, float("nan")).to(Q.dtype)
    if rotation.numel():
        eye = torch.eye(rotation.shape[1], dtype=rotation.dtype, device=rotation.device)
        rotation = torch.where(ok, rotation, eye)
    basis = torch.where(ok, Q, fallback).to(out_dtype or Q.dtype).contiguous()
    return basis, share, info, values, rotation
