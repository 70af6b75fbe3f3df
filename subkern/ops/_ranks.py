"""What sharded ops ask of a process group; without one, a single rank that talks to nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Ranks:
    """The ranks of a group. Every method but the constructor is called on all of them, in order."""

    def __init__(self, op: str, group: Any) -> None:
        self.group, self.rank, self.count = group, 0, 1
        if group is None:
            return
        from torch import distributed  # absent from some builds of torch

        if not (distributed.is_available() and isinstance(group, distributed.ProcessGroup)):
            raise TypeError(f"{op}: group must be a process group or None, got {group!r}")
        self.rank, self.count = distributed.get_rank(group), distributed.get_world_size(group)
        if self.rank < 0:
            raise ValueError(f"{op}: group must hold this process, got one that does not")

    def sum(self, t: Tensor) -> Tensor:
        """Sum over the ranks, in place; the same bits on all of them."""
        if self.count > 1:
            torch.distributed.all_reduce(t, group=self.group)
        return t

    def once(self, make: Callable[[], list[Tensor]], like: list[Tensor]) -> list[Tensor]:
        """What ``make`` returns on the first rank, on all ranks; shapes and dtypes are of ``like``.

        Processors and thread counts of the ranks may differ, and so the bits that each would find.
        """
        if self.count == 1:
            return make()
        first = torch.distributed.get_global_rank(self.group, 0)
        made = make() if self.rank == 0 else [torch.empty_like(t) for t in like]
        for i, t in enumerate(made):
            made[i] = t.to(like[i].dtype).contiguous()
            torch.distributed.broadcast(made[i], src=first, group=self.group)
        return made

    def gather(self, t: Tensor) -> list[Tensor]:
        """The tensors of all ranks, of equal shapes."""
        if self.count == 1:
            return [t]
        parts = [torch.empty_like(t) for _ in range(self.count)]
        torch.distributed.all_gather(parts, t.contiguous(), group=self.group)
        return parts

    def facts(self, op: str, X: Tensor, largest: Tensor) -> tuple[list[int], float]:
        """(rows on every rank, largest magnitude anywhere, NaN if there is one); the host waits."""
        mine = torch.tensor([*X.shape, 0.0], dtype=torch.float64, device="cpu")
        mine[2] = largest
        table = torch.stack(self.gather(mine.to(X.device))).tolist()
        columns = [int(row[1]) for row in table]
        if min(columns) != max(columns):
            raise ValueError(f"{op}: shards must have equal numbers of columns, got {columns}")
        magnitudes = [row[2] for row in table]
        nan = any(value != value for value in magnitudes)
        return [int(row[0]) for row in table], float("nan") if nan else max(magnitudes)
