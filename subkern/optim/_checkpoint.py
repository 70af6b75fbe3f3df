"""Loading of optimizer state: exact for our own, translated for galore-torch's and fira's.

torch's base class would cast every tensor to its parameter's dtype, so it is handed no state at
all: the state is built here, checked before anything changes, and put in place afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from subkern.optim._groups import check_group, check_parameters, rename_aliases, side_of


@contextlib.contextmanager
def restore_exactly(optimizer: Any) -> Iterator[None]:
    """While active, ``optimizer.load_state_dict`` keeps dtypes and values of what was saved."""
    built: dict[Tensor, dict[str, Tensor]] = {}

    def build(_: Any, state_dict: dict[str, Any]) -> dict[str, Any] | None:
        targets = optimizer.param_groups
        saved = state_dict["param_groups"]
        if [len(g["params"]) for g in saved] != [len(g["params"]) for g in targets]:
            return None  # torch words the error
        groups = [_complete_group(optimizer, *pair) for pair in zip(saved, targets, strict=True)]
        rest = dict(state_dict["state"])
        index = 0
        for group, target in zip(groups, targets, strict=True):
            params = target["params"]
            check_parameters(optimizer._name, {**group, "params": params})
            for i, (key, p) in enumerate(zip(group["params"], params, strict=True)):
                values = rest.pop(key, None)
                if values is not None or p.requires_grad:
                    owner = f"{optimizer._name}: state of parameter {index}"
                    fresh = optimizer._new_state(p, group, i)
                    built[p] = _loaded(owner, fresh, values or {}, p, group)
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


def _complete_group(
    optimizer: Any, saved: Mapping[str, Any], current: Mapping[str, Any]
) -> dict[str, Any]:
    """The saved group under our key names; keys it lacks keep the optimizer's values."""
    kept = {key: value for key, value in current.items() if key not in ("params", "param_names")}
    group = kept | rename_aliases(optimizer._name, saved)
    check_group(optimizer._name, group)
    return group | {"betas": tuple(group["betas"])}  # distributed state dicts make it a list


def _loaded(
    owner: str,
    fresh: dict[str, Tensor],
    values: Mapping[str, Any],
    p: Tensor,
    group: Mapping[str, Any],
) -> dict[str, Tensor]:
    """``fresh`` with every saved value in place; never shares memory with ``values``."""
    # Our own state always counts skipped steps; its dtypes are kept, those of others converted.
    own = "skipped" in values
    if not own:
        side = side_of(p.shape, group["proj_type"]) if "rank" in group else ""
        values = _translated(owner, values, fresh, side)
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


def _translated(
    owner: str, values: Mapping[str, Any], fresh: Mapping[str, Tensor], side: str
) -> dict[str, Any]:
    """State of galore-torch or fira under our names; the projector object is read, not kept."""
    renamed = {"scaling_grad": "limiter"}
    ours = {renamed.get(name, name): value for name, value in values.items() if name != "projector"}
    ours = {name: value for name, value in ours.items() if name in fresh}
    if "basis" not in fresh:
        return ours
    # Their refreshes follow the step count, ours a count of its own.
    ours["calls"] = int(values.get("step", 0))
    matrix = getattr(values.get("projector"), "ortho_matrix", None)
    if matrix is None:
        return ours
    ours["refreshes"] = 1
    both = isinstance(matrix, (list, tuple)) and len(matrix) == 2
    if both != (side == "full") or not all(map(_is_matrix, matrix if both else [matrix])):
        expected = "two matrices" if side == "full" else "one matrix"
        raise ValueError(
            f"{owner}: projector must hold {expected} for side {side!r}, "
            f"got {type(matrix).__name__}"
        )
    # They store a left basis m x r as we do, a right one transposed.
    if side == "full":
        ours["basis"], ours["basis_right"] = matrix[0], matrix[1].T
    else:
        ours["basis"] = matrix if side == "left" else matrix.T
    return ours


def _is_matrix(value: object) -> bool:
    return isinstance(value, Tensor) and value.dim() == 2
