"""Exact loading of optimizer state: torch's base class would cast it to the parameter's dtype."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor

HOST_COUNTERS = ("calls", "refreshes", "offset")


@contextlib.contextmanager
def restore_exactly(optimizer: Any) -> Iterator[None]:
    """While active, ``optimizer.load_state_dict`` keeps dtypes and values of what was saved."""
    saved: dict[int, Any] = {}

    def remember(_: Any, state_dict: dict[str, Any]) -> None:
        saved.update(state_dict["state"])

    def restore(_: Any) -> None:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        for index, values in saved.items():
            # The loaded keys follow the order of the groups, as in torch's base class.
            _restore_parameter(optimizer, params[index], values)

    before = optimizer.register_load_state_dict_pre_hook(remember)
    after = optimizer.register_load_state_dict_post_hook(restore, prepend=True)
    try:
        yield
    finally:
        before.remove()
        after.remove()


def _restore_parameter(optimizer: Any, p: Tensor, values: dict[str, Any]) -> None:
    state = optimizer.state[p]
    for name, value in values.items():
        if isinstance(value, Tensor):
            device = "cpu" if name in HOST_COUNTERS else p.device
            state[name] = value.detach().to(device, copy=True)
