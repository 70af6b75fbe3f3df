"""Low-rank Adam step on the GPU: project, moments, update, one launch each for a whole chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from subkern.backends.triton.lowrank_plan import (
    Chunk,
    Plan,
    Scratch,
    make_chunks,
    make_plan,
    make_scratch,
)

Moments = Callable[[Plan, Chunk, Scratch], None]

# Entries of one chunk, at most: y and z of a launch grid end at 65535.
MOST = 4096


def step(call: Mapping[str, Any], moments: Moments, most: int = MOST) -> None:
    """One call of ``lowrank_adam_`` with ``moments`` as the second stage.

    Args:
        call: the arguments of the op, by name.
        moments: launches the second stage of a chunk.
        most: parameters that the second stage takes at once.
    """
    if call["params"][0].numel() == 0:  # nothing to project: the kernels take matrices of elements
        for count in call["steps"]:
            count.add_(1)
        return
    plan = make_plan(call)
    for chunk in make_chunks(plan, call, most):
        scratch = make_scratch(plan, chunk.count)
        _project(plan, chunk, scratch)
        if not plan.fused:
            moments(plan, chunk, scratch)
        _update(plan, chunk, scratch)


def _project(plan: Plan, chunk: Chunk, scratch: Scratch) -> None:
    raise NotImplementedError


def _update(plan: Plan, chunk: Chunk, scratch: Scratch) -> None:
    raise NotImplementedError
