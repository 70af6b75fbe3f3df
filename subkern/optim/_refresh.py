"""When a basis is refreshed, and what becomes of a refresh that the gradient does not allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from subkern.optim._basis import random_start, refresh_basis
from subkern.optim._groups import side_of

DUE, RETRY = "due", "retry"


@dataclass(frozen=True, slots=True)
class Entry:
    """A parameter that takes part in a step."""

    p: Tensor
    grad: Tensor
    state: dict[str, Tensor]
    group: dict[str, Any]
    group_number: int
    index: int  # across groups: part of the seed

    @property
    def projected(self) -> bool:
        return "rank" in self.group


def host_may_read(p: Tensor) -> bool:
    """Whether the host may read results computed beside ``p``: elsewhere it would have to wait."""
    return p.device.type == "cpu"


def wanted(entry: Entry) -> str | None:
    """DUE on the first call and on every gap-th, RETRY where the first may have been refused.

    The host reads no accelerator, so it cannot know; until the second refresh it tries again on
    calls 2, 4, 8, ..., and the device decides.
    """
    calls, refreshes = int(entry.state["calls"]), int(entry.state["refreshes"])
    gap = entry.group["update_proj_gap"]
    if refreshes == 0 or (calls + int(entry.state["offset"])) % gap == 0:
        return DUE
    call = calls + 1
    if refreshes == 1 and call & (call - 1) == 0 and not host_may_read(entry.p):
        return RETRY
    return None


def refresh(entry: Entry, *, retry: bool = False) -> bool:
    """Replace the basis by that of the present gradient; returns whether it counts as refreshed.

    A zero or non-finite gradient keeps the basis. Where the host may read that, the refresh does
    not count and stays due, so that neither distributed checkpointing's zero step nor an overflow
    loses one. Elsewhere it counts, and the device keeps the old basis.
    """
    p, state, group = entry.p, entry.state, entry.group
    names = ["basis", "basis_right"] if "basis_right" in state else ["basis"]
    stored = [state[name] for name in names]
    refreshes = int(state["refreshes"])
    on_host = host_may_read(p)
    kind, first = group["basis"], (group["seed"], entry.index, 0)
    previous = stored if refreshes else None
    if refreshes == 1 and not on_host:
        kind = "warm" if retry else kind
        unset = torch.stack([_is_unset(basis) for basis in stored]).all()
        # Unit vectors are no start: a gradient may have nothing in their rows.
        starts = [random_start(b.shape, b, (*first, i)) for i, b in enumerate(stored)]
        previous = [torch.where(unset, s, b) for s, b in zip(starts, stored, strict=True)]
    bases, ok = refresh_basis(
        kind,
        entry.grad,
        stored[0].shape[1],
        side_of(p.shape, group["proj_type"]),
        previous,
        (*first[:2], refreshes),
        on_host=on_host,
    )
    if on_host:
        if not bool(ok):
            return False
        for old, new in zip(stored, bases, strict=True):
            old.copy_(new)
    else:
        ok = ok & unset if retry else ok
        for old, new in zip(stored, bases, strict=True):
            old.copy_(torch.where(ok, new.to(old.dtype), old))
    if not retry:
        state["refreshes"] += 1
    return True


def _is_unset(basis: Tensor) -> Tensor:
    """Whether the basis still holds the unit vectors that it started with."""
    return (basis == torch.eye(*basis.shape, dtype=basis.dtype, device=basis.device)).all()
