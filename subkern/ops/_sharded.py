"""topk_subspace of a matrix whose rows are spread over the ranks of a process group.

Factors with the rows of G are sharded as G is, factors with its columns are whole on every rank.
What crosses in an iteration is one sum of (columns of G) x (columns of the basis), and tsqr.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from subkern.backends.composed.matrix import Matrix, eigenpairs, gram64, widened
from subkern.backends.composed.topk_subspace import find
from subkern.ops._ranks import Ranks
from subkern.ops.orthonormalize import orthonormalize
from subkern.ops.tsqr import factored
from subkern.reference.topk_subspace import largest_magnitude, power_of_two


class Shard(Matrix):
    """The rows of G on this rank; X is G or its transpose, with a batch of one."""

    def __init__(
        self,
        X: Tensor,
        scale: Tensor,
        ranks: Ranks,
        sharded: str,
        counts: list[int],
        backend: str | None,
    ) -> None:
        squares = ranks.sum(torch.linalg.vector_norm(X, dtype=torch.float64).square())
        super().__init__(X, scale, backend or "", squares[None])
        self.rows[sharded] = sum(counts)
        self.mine = slice(sum(counts[: ranks.rank]), sum(counts[: ranks.rank + 1]))
        self.ranks, self.sharded, self.asked = ranks, sharded, backend

    def _here(self, F: Tensor, side: str) -> Tensor:
        return F[:, self.mine] if side == self.sharded else F

    def unit(self, columns: int) -> Tensor:
        return self._here(super().unit(columns), "left")

    def gaussian(self, side: str, columns: int, seed: int) -> Tensor:
        return self._here(super().gaussian(side, columns, seed), side)  # as one process draws them

    def down(self, Q: Tensor) -> Tensor:
        return self.total(super().down(Q), "left")

    def up(self, Z: Tensor) -> Tensor:
        return self.total(super().up(Z), "right")

    def total(self, t: Tensor, side: str) -> Tensor:
        return self.ranks.sum(t) if side == self.sharded else t

    def agreed(self, make: Callable[[], list[Tensor]], like: list[Tensor]) -> list[Tensor]:
        return self.ranks.once(make, like)

    def orthonormal(self, Y: Tensor, side: str) -> tuple[Tensor, Tensor, Tensor]:
        if side == self.sharded:
            Q, R, info = factored(self.ranks, Y[0], "cholesky", self.asked)
            return Q[None], R[None], info[None]
        R = Y.new_empty((1, Y.shape[2], Y.shape[2]))

        def make() -> list[Tensor]:
            return list(orthonormalize(Y, return_r=True, info=True, backend=self.asked))

        Q, R, info = self.agreed(make, [Y, R, Y.new_empty((1,), dtype=torch.int32)])
        return Q, R, info

    def ritz(self, Q: Tensor, ok: Tensor, count: int) -> tuple[Tensor, Tensor]:
        T = self.total(gram64(self.down(Q)), "right")
        like = [T[:, 0, :count], T[:, :, :count].float()]
        squares, V = self.agreed(lambda: list(eigenpairs(T, ok, count)), like)
        return squares, V


def sharded_subspace(
    G: Tensor,
    group: Any,
    rank: int,
    side: str,
    q_prev: Tensor | None,
    backend: str | None,
    plan: Callable[..., dict[str, Any]],
    *,
    mode: str,
    iters: int,
    oversample: int,
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Results of topk_subspace with a batch of one; a left basis is sharded as G (rows, n) is."""
    op = "topk_subspace"
    ranks = Ranks(op, group)
    counts, largest = ranks.facts(op, G, largest_magnitude(G[None])[0])
    m, n = sum(counts), G.shape[1]
    if side == "auto":
        side = "left" if m <= n else "right"
    left = side == "left"
    k, q = (m, n) if left else (n, m)
    rank = min(rank, k)
    shape = (len(G) if left else n, rank)
    if q_prev is not None and tuple(q_prev.shape) != shape:
        raise ValueError(f"{op}: q_prev must have shape {shape}, got {tuple(q_prev.shape)}")
    warm = q_prev is not None
    options |= plan(mode, k, q, rank, iters, oversample, warm=warm, order=options["order"])
    if options["mode"] == "exact":
        options["mode"] = "iterate"  # "auto" of a small side: no Gram matrix of sharded rows

    scale = power_of_two(torch.tensor([largest], dtype=torch.float32, device=G.device))
    whole = widened(G if left else G.mT)[None]
    X = Shard(whole, scale, ranks, "left" if left else "right", counts, backend)
    previous = None if q_prev is None else q_prev.float()[None]
    finite = torch.tensor([largest < float("inf")], device=G.device)
    if previous is not None:
        bad = (~torch.isfinite(previous)).sum()[None]
        finite = finite & (X.total(bad, "left") == 0)
    fallback = X.unit(rank) if previous is None else previous
    ok = (finite & (largest > 0))[:, None, None]
    return find(X, previous, fallback, ok, finite, rank=rank, **options)
