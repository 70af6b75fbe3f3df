"""Parameter groups of the low-rank optimizers: keys, aliases, ranges, and the side rule."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from subkern.ops._checks import check_choice, check_flag, check_number
from subkern.ops.adam import DECAYS, check_adam_numbers
from subkern.ops.lowrank_adam import GRANULARITIES
from subkern.optim._basis import BASES

PROJ_TYPES = ("std", "reverse_std", "left", "right", "full")
ALIASES = {"alpha": "scale", "projection_type": "proj_type"}

# Group keys of the engine, for every method.
ENGINE_DEFAULTS: dict[str, Any] = {
    "update_proj_gap": 200,
    "proj_type": "std",
    "basis": "warm",
    "basis_dtype": None,
    "states": "fp32",
    "weight_rounding": "nearest",
    "phase": "reference",
    "decay": "post",
    "skip_nonfinite": True,
    "capturable": False,
    "seed": 0,
}


def side_of(shape: Sequence[int], proj_type: str) -> str:
    """Side of the projection: std projects the shorter side, right when square."""
    m, n = shape
    if proj_type == "std":
        return "right" if m >= n else "left"
    if proj_type == "reverse_std":
        return "left" if m >= n else "right"
    return proj_type


def rename_aliases(op: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the aliases people write by the group keys of the engine."""
    renamed = dict(keys)
    for alias, name in ALIASES.items():
        if alias in renamed:
            value = renamed.pop(alias)
            if name in renamed and renamed[name] != value:
                raise ValueError(
                    f"{op}: {alias} must equal {name} when both are given, "
                    f"got {value} and {renamed[name]}"
                )
            renamed[name] = value
    return renamed


def check_group(op: str, group: Mapping[str, Any]) -> None:
    """Raise on a value that the engine does not support."""
    check_adam_numbers(
        op, group["lr"], group["betas"], group["eps"], group["weight_decay"], group["decay"]
    )
    check_choice(op, "decay", group["decay"], DECAYS)
    check_choice(op, "states", group["states"], ("fp32", "reference"))
    check_choice(op, "weight_rounding", group["weight_rounding"], ("nearest",))
    check_choice(op, "phase", group["phase"], ("reference", "staggered"))
    check_choice(op, "basis", group["basis"], BASES)
    check_choice(op, "proj_type", group["proj_type"], PROJ_TYPES)
    check_number(op, "scale", group["scale"])
    for key in ("correct_bias", "skip_nonfinite", "capturable"):
        check_flag(op, key, group[key])
    dtype = group["basis_dtype"]
    if dtype not in (None, torch.float32, torch.bfloat16, torch.float64):
        raise ValueError(
            f"{op}: basis_dtype must be None, torch.float32 or torch.bfloat16, got {dtype!r}"
        )
    check_count(op, "update_proj_gap", group["update_proj_gap"])
    check_count(op, "seed", group["seed"], low=0)
    if "rank" in group:
        check_count(op, "rank", group["rank"])
    if "gamma" in group:
        check_number(op, "gamma", group["gamma"], 1.0)
        check_number(op, "norm_eps", group["norm_eps"])
        check_choice(op, "granularity", group["granularity"], GRANULARITIES)
        check_flag(op, "alpha_in_residual", group["alpha_in_residual"])


def check_count(op: str, name: str, value: Any, low: int = 1) -> None:
    """An integer of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{op}: {name} must be an integer, got {value!r}")
    if value < low:
        raise ValueError(f"{op}: {name} must be at least {low}, got {value}")


def check_parameters(op: str, group: Mapping[str, Any]) -> None:
    """Every parameter is a kind the group can train; a group lists none twice."""
    seen: set[int] = set()
    for i, p in enumerate(group["params"]):
        if id(p) in seen:
            raise ValueError(f"{op}: params[{i}] must not appear twice, got a tied parameter")
        seen.add(id(p))
        if hasattr(p, "device_mesh"):
            raise TypeError(f"{op}: params[{i}] must be a local tensor, got a DTensor")
        if p.layout != torch.strided:
            raise ValueError(f"{op}: params[{i}] must be dense, got {p.layout}")
        if not p.is_floating_point():
            raise TypeError(f"{op}: params[{i}] must be real floating point, got {p.dtype}")
        if "rank" in group and (p.dim() != 2 or p.numel() == 0):
            raise ValueError(
                f"{op}: params[{i}] must be a non-empty matrix in a group with rank, "
                f"got shape {tuple(p.shape)}"
            )


def warn_clamped_ranks(op: str, group: Mapping[str, Any]) -> None:
    """One warning per group for ranks above the smaller side."""
    if "rank" not in group:
        return
    clamped = [tuple(p.shape) for p in group["params"] if min(p.shape) < group["rank"]]
    if clamped:
        warnings.warn(
            f"{op}: rank {group['rank']} is above the smaller side of {len(clamped)} parameters, "
            f"the first of shape {clamped[0]}; it is clamped to that side",
            stacklevel=_callers_level(),
        )


def _callers_level() -> int:
    """Depth of the first frame outside of this package and torch, for the caller's warnings."""
    frame, level = inspect.currentframe(), 0
    while frame is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in ("subkern", "torch"):
            break
        frame, level = frame.f_back, level + 1
    return level


def check_gradient(op: str, p: Tensor, projected: bool) -> None:
    """Raise unless ``p`` has a gradient that the engine can take."""
    grad = p.grad
    assert grad is not None
    if grad.layout != torch.strided:
        raise RuntimeError(f"{op}: gradients must be dense, got {grad.layout}")
    # The start of one storage, not an address: fake tensors have none.
    places = [(t.untyped_storage()._cdata, t.storage_offset()) for t in (grad, p)]
    if grad.numel() and places[0] == places[1]:
        raise ValueError(
            f"{op}: gradients must not share memory with their parameter, got an alias"
        )
    if projected and grad.dim() != 2:
        raise ValueError(
            f"{op}: gradients must be matrices in a group with rank, got shape {tuple(grad.shape)}"
        )
