"""Leading singular subspaces from large products and the small factorizations of a backend.

One code for CPU, CUDA and the shards of a process group. The host reads nothing, except that
torch.linalg.eigh does so where there are more than 64 columns (exact bases of larger matrices, Ritz
values of wider bases). X is G, or its transpose for "right".
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.backends.composed.matrix import Matrix, padded, product, widened
from subkern.backends.composed.support import cuda_refusal
from subkern.backends.registry import register
from subkern.reference.topk_subspace import (
    DEFICIENT,
    RESOLUTION,
    below,
    finish,
    largest_magnitude,
    nothing,
    power_of_two,
    unit_columns,
)

EPS = 2.0**-23
# Share of what a product captures that is added of the last factor: above the product's rounding.
SHIFT = 2.0**-21
# The same in units of the largest entry: keeps a start that G has nothing in.
FLOOR = 2.0**-44


def exact(X: Matrix, ok: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """(Q, squared values, deficient) from the Gram matrix of the shorter side.

    Left vectors of a tall X are X V, orthonormalized; Gaussian columns stand in for missing ones.
    """
    A = X.X * X.scale.to(X.X.dtype)  # a Gram matrix has no thin factor to scale
    k, q = A.shape[1:]
    short = min(rank, k, q)
    C = product(A, A.mT) if k <= q else product(A.mT, A)
    squares, Q = X.eigen(C, ok, short)
    if k > q:
        Y = padded(product(A, Q), rank)
        Y += _shift(X.norms(Y, "left").sqrt()) * X.gaussian("left", rank, seed)
        Q, _, _ = X.orthonormal(Y, "left")
        squares = padded(squares[:, None], rank)[:, 0]
    return Q, squares, below(squares, RESOLUTION * EPS)


def iterate(
    X: Matrix, Q: Tensor, rank: int, iters: int, seed: int, *, careful: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(Q, deficient, energy of the start) after ``iters`` times Q <- orth(X X^T Q).

    ``careful``: orthonormalized after each half, which resolves singular values down to rounding.
    Else Y = (X X^T + shift) Q: for a start close to the answer, half the work on thin factors.

    The shift turns no singular vector. What is below it keeps its last direction, so that columns
    stay independent whatever the rank of X, and nothing has to be repaired.
    """
    weak = incoming = right = None
    for _ in range(iters):
        Z = X.down(Q)
        captured = X.norms(Z, "right")
        if incoming is None:
            plain = Z.shape[2] == rank
            incoming = captured if plain else X.norms(Z[:, :, :rank], "right")
        if careful and X.rows["right"] >= Z.shape[2]:
            if right is None:
                right = X.gaussian("right", Z.shape[2], seed + 1)
            Z += _shift(captured.sqrt()) * right
            right, _, _ = X.orthonormal(Z, "right")
            Y = X.up(right)
            shift = _shift(X.norms(Y, "left").sqrt())
        else:
            Y = X.up(Z)
            shift = _shift(captured)
        Y += shift * Q
        Q, R, events = X.orthonormal(Y, "left")
        weak = (R.diagonal(dim1=1, dim2=2) <= 4 * shift[:, 0]).any(1) | (events & DEFICIENT != 0)
    return Q, weak, incoming


def _shift(size: Tensor) -> Tensor:
    return (SHIFT * size + FLOOR).float()[:, None, None]


def find(
    X: Matrix,
    previous: Tensor | None,
    fallback: Tensor,
    ok: Tensor,
    finite: Tensor,
    *,
    rank: int,
    mode: str,
    iters: int,
    oversample: int,
    order: bool,
    align: str,
    energy: str,
    out_dtype: torch.dtype | None,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Results of the op; ``fallback`` is the basis where not ``ok``."""
    squares = deficient = incoming = None
    b = len(fallback)
    if mode == "identity":
        Q = X.unit(rank)
        squares = Q.new_zeros((b, rank)) if order else None  # of matrices without entries
    elif mode == "exact":
        Q, squares, deficient = exact(X, ok, rank, seed)
    else:
        width = max(rank, min(rank + oversample, *X.rows.values()))
        kept = [] if previous is None else [previous]
        if fresh := width - rank * len(kept):
            kept.append(X.gaussian("left", fresh, seed))
        careful = previous is None or order
        Q, deficient, incoming = iterate(X, torch.cat(kept, 2), rank, iters, seed, careful=careful)
        if order or width > rank:
            squares, V = X.ritz(Q, ok, rank)
            Q, deficient = product(Q, V), below(squares, (RESOLUTION * EPS) ** 2)

    whole = share = nothing(Q, torch.float64)
    if energy != "none":
        whole = X.energy()
        if energy == "start" and previous is not None:
            share = X.norms(X.down(previous), "right") if incoming is None else incoming
        elif squares is None:
            share = X.norms(X.down(Q), "right")
        else:
            share = squares.sum(1)
    rotation = nothing(Q)
    if align == "procrustes":
        rotation = unit_columns(b, rank, rank, Q)
        if previous is not None:
            C = X.total(product(Q.mT, previous), "left")
            (rotation,) = X.agreed(lambda: [X.nearest_rotation(C, ok)], [rotation])
            Q = product(Q, rotation)
    elif align == "sign" and previous is not None:
        Q = torch.where(X.total((Q * previous).sum(1, keepdim=True), "left") < 0, -Q, Q)
    return finish(
        *(Q, fallback, ok, finite, deficient, share, whole),
        values=squares.sqrt() / X.scale[:, :, 0] if order and squares is not None else None,
        rotation=rotation,
        out_dtype=out_dtype,
    )


def topk_subspace(
    G: Tensor,
    q_prev: Tensor | None,
    *,
    side: str,
    backend: str,
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See :func:`subkern.ops.topk_subspace`."""
    whole = widened(G if side == "left" else G.mT)
    largest = largest_magnitude(whole).float()
    X = Matrix(whole, power_of_two(largest), backend)
    finite = largest < float("inf")
    previous = None if q_prev is None else q_prev.float()
    if previous is not None:
        finite = finite & (largest_magnitude(previous) < float("inf"))
    fallback = X.unit(options["rank"]) if previous is None else previous
    ok = (finite & (largest > 0))[:, None, None]
    return find(X, previous, fallback, ok, finite, **options)


def can_serve(backend: str, name: str, **call: object) -> str | None:
    """None, or why a call with the matrices ``name`` needs another backend."""
    X = call[name]
    assert isinstance(X, Tensor)
    if backend == "cuda" and (reason := cuda_refusal(X)) is not None:
        return reason
    if backend == "cpu" and X.device.type != "cpu":
        return f"serves CPU tensors only, got {X.device.type}"
    if X.dtype not in (torch.float32, torch.bfloat16):
        return f"serves float32 and bfloat16, got {X.dtype}"
    return None


for _name in ("cpu", "cuda"):
    register("topk_subspace", _name, partial(can_serve, _name, "G"), composed=True)(
        partial(topk_subspace, backend=_name)
    )
