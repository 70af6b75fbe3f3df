"""Refresh engines: how the basis of a projected gradient is found, by the ops that find subspaces.

All return the basis of the canonical form: X is k x q, P is k x r with orthonormal columns. On an
accelerator "warm" and "random" make no host wait; "svd" does, "gram" and "rsvd" do where they meet
an eigenvalue problem of more than 64 columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.backends.registry import unless_absent
from subkern.ops.orthonormalize import orthonormalize
from subkern.ops.topk_subspace import topk_subspace
from subkern.reference.topk_subspace import largest_magnitude, power_of_two, random_columns

BASES = ("svd", "warm", "rsvd", "gram", "random")

OVERSAMPLE = 16
COLD_ITERATIONS = 3
WARM_ITERATIONS = 2


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
        kind: "svd" (exact), "gram" (exact, from the Gram matrix), "rsvd" (randomized), "warm"
            (over-relaxed power iteration from ``previous``, rsvd when there is none), "random" (of
            the seed).
        G: gradient, m x n.
        rank: columns of the basis, at most min(m, n).
        side: "left", "right" or "full".
        previous: for "warm" and "gram", bases to start from or to align with, in the order of the
            result, or None.
        seed: (seed, parameter index, refresh count): the same on every rank and after resume.
        on_host: whether the host may read a zero gradient to save the work; there is no basis then.

    Returns:
        (bases, ok): float32 bases (float64 for a float64 gradient), and a 0-dim bool tensor beside
        them: False when the gradient is zero or not finite.
    """
    if G.dtype == torch.float16:
        G = G.float()
    largest = largest_magnitude(G[None])
    ok = ((largest > 0) & (largest < float("inf")))[0]
    if on_host and not bool(ok):
        return [], ok
    sides = ["left", "right"] if side == "full" else [side]
    if kind == "svd":
        return _exact(G, rank, sides, largest, ok), ok
    starts: Sequence[Tensor | None] = previous or [None] * len(sides)
    with unless_absent("topk_subspace"):  # a forced Triton governs the step alone
        return [
            _basis(kind, G, rank, one, start, mixed((*seed, i)))
            for i, (one, start) in enumerate(zip(sides, starts, strict=True))
        ], ok


def _exact(G: Tensor, rank: int, sides: list[str], largest: Tensor, ok: Tensor) -> list[Tensor]:
    """Singular vectors by torch.linalg.svd, of zeros where not ``ok``."""
    wide = torch.float64 if G.dtype == torch.float64 else torch.float32
    X = torch.where(ok, G.to(wide) * power_of_two(largest.to(wide))[0], 0.0)
    U, _, Vh = torch.linalg.svd(X, full_matrices=False)
    both = {"left": U[:, :rank], "right": Vh[:rank].T}
    return [both[side].contiguous() for side in sides]


def _basis(kind: str, G: Tensor, rank: int, side: str, start: Tensor | None, seed: int) -> Tensor:
    k = G.shape[0 if side == "left" else 1]
    if kind == "random" or rank == k:
        shape = (k, rank)
        return _unit(shape, G) if rank == k else random_start(shape, G, (seed,))
    mode = "exact" if kind == "gram" else "iterate"
    warm = kind == "warm" and start is not None
    if not warm and kind != "gram":
        start = None
    return topk_subspace(
        G,
        rank,
        side=side,
        mode=mode,
        q_prev=start,
        iters=WARM_ITERATIONS if warm else COLD_ITERATIONS,
        oversample=0 if warm else OVERSAMPLE,
        relax=warm,
        seed=seed,
        return_energy=False,
    ).basis


def _unit(shape: Sequence[int], like: Tensor) -> Tensor:
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    return torch.eye(*shape, dtype=dtype, device=like.device)


def mixed(seed: tuple[int, ...]) -> int:
    """One seed from several numbers, below 2^63."""
    total = 0
    for part in seed:
        total = (total * 0x9E3779B97F4A7C15 + part + 1) % 2**63
    return total


def random_start(shape: Sequence[int], like: Tensor, seed: tuple[int, ...]) -> Tensor:
    """Orthonormalized Gaussian columns from a generator of their own on ``like``'s device.

    The same on every rank and after a resume on the same kind of device; CPU and GPU differ.
    """
    drawn = random_columns(shape[0], shape[1], mixed(seed), _unit((0, 0), like))
    return orthonormalize(drawn)[0].to(like.dtype)
