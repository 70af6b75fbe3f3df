"""Loading of optimizer state: every value keeps the dtype it was saved with.

torch's base class would cast every tensor to its parameter's dtype, so it is handed no state at
all: the state is built here, checked before anything changes, and put in place afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor


class Restorable(Protocol):
    """What an optimizer offers beside what torch.optim.Optimizer has."""

    _name: str

    def _complete_group(
        self, saved: Mapping[str, Any], current: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The saved group under our key names, checked against ``current["params"]``."""

    def _new_state(self, p: Tensor, group: dict[str, Any], position: int) -> dict[str, Tensor]:
        """State of a parameter before its first step."""

    def _own_values(
        self,
        owner: str,
        values: Mapping[str, Any],
        fresh: Mapping[str, Tensor],
        p: Tensor,
        group: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        """Saved values under our names."""


@contextlib.contextmanager
def restore_exactly(optimizer: Any) -> Iterator[None]:
    """While active, a :class:`Restorable`'s ``load_state_dict`` keeps dtypes and values."""
    built: dict[Tensor, dict[str, Tensor]] = {}

    def build(_: Any, state_dict: dict[str, Any]) -> dict[str, Any] | None:
        targets = optimizer.param_groups
        saved = state_dict["param_groups"]
        if [len(g["params"]) for g in saved] != [len(g["params"]) for g in targets]:
            return None  # torch words the error
        pairs = zip(saved, targets, strict=True)
        groups = [optimizer._complete_group(one, target) for one, target in pairs]
        rest = dict(state_dict["state"])
        index = 0
        for group, target in zip(groups, targets, strict=True):
            for i, (key, p) in enumerate(zip(group["params"], target["params"], strict=True)):
                values = rest.pop(key, None)
                if values is not None or p.requires_grad:
                    owner = f"{optimizer._name}: state of parameter {index}"
                    fresh = optimizer._new_state(p, group, i)
                    values = {} if values is None else values
                    # Our own state always counts skipped steps; of others the dtypes are ours.
                    own = "skipped" in values
                    values = optimizer._own_values(owner, values, fresh, p, group)
                    built[p] = _loaded(owner, fresh, values, p, own)
                index += 1
        return {**state_dict, "state": rest, "param_groups": groups}

    def put(_: Any) -> None:
        optimizer.state.update(built)

    before = optimizer.register_load_state_dict_pre_hook(build)
    after = optimizer.register_load_state_dict_post_hook(put, prepend=True)
    try:
        yield
    finally:
        before.remove()
        after.remove()


def _loaded(
    owner: str, fresh: dict[str, Tensor], values: Mapping[str, Any], p: Tensor, own: bool
) -> dict[str, Tensor]:
    """``fresh`` with every saved value in place; never shares memory with ``values``."""
    state = dict(fresh)
    for name, value in values.items():
        if isinstance(value, (int, float)) and name in fresh:
            value = torch.tensor(value, dtype=fresh[name].dtype, device="cpu")
        if not isinstance(value, Tensor):
            continue
        if name in fresh and value.shape != fresh[name].shape:
            raise ValueError(
                f"{owner}: {name} must have shape {tuple(fresh[name].shape)}, "
                f"got {tuple(value.shape)}"
            )
        if name in fresh:  # in the layout that the kernels expect
            dtype = value.dtype if own else fresh[name].dtype
            state[name] = torch.empty_like(fresh[name], dtype=dtype).copy_(value.detach())
        else:
            state[name] = value.detach().to(p.device, copy=True)
    return state
