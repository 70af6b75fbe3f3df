"""Arguments and results that the Krylov solvers share."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
from torch import Tensor

from subkern.backends import BACKENDS, registry
from subkern.backends.watched import is_real, is_watched
from subkern.ops._called import called
from subkern.ops._channels import Layout, read_data
from subkern.ops._checks import (
    check_backend,
    check_choice,
    check_memory,
    check_number,
    check_tensor,
    overlaps_itself,
)
from subkern.ops._operator import LinearOperator
from subkern.ops.group_dot import group_dot
from subkern.reference.group_dot import group_dot as by_torch

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
MOST_STEPS = 2**31 - 1  # iterations are int32


class CGResult(NamedTuple):
    """What a solver found.

    Attributes:
        x: the solution.
        residual_norm: (samples,) float64, ||b - H x||; of the recursion, unless ``info=True``.
        iterations: (samples,) int32.
        status: (samples,) int32; 0 met the tolerance, 1 did all the steps, 2 stagnated near the
            rounding floor, 3 met curvature that is not positive, 4 is not finite. On 2, 3 and 4 x
            is the last that was good.
    """

    x: Tensor
    residual_norm: Tensor
    iterations: Tensor
    status: Tensor


def check_vector(op: str, name: str, value: object) -> Tensor:
    """A batch of real or complex images or vectors, detached."""
    check_tensor(op, name, value)
    assert isinstance(value, Tensor)
    if value.dtype not in DTYPES:
        raise TypeError(
            f"{op}: {name} must be float32, float64, complex64 or complex128, got {value.dtype}"
        )
    if value.dim() < 2:
        raise ValueError(f"{op}: {name} must have shape (samples, ...), got {tuple(value.shape)}")
    return value.detach().resolve_conj().resolve_neg()


def check_alike(op: str, name: str, value: object, like: Tensor, like_name: str) -> Tensor:
    """A tensor in the shape, dtype and device of another, detached."""
    check_tensor(op, name, value)
    assert isinstance(value, Tensor)
    if value.dtype != like.dtype:
        raise TypeError(f"{op}: {name} must be {like.dtype} like {like_name}, got {value.dtype}")
    if value.shape != like.shape:
        raise ValueError(
            f"{op}: {name} must have shape {tuple(like.shape)} like {like_name}, "
            f"got {tuple(value.shape)}"
        )
    if value.device != like.device:
        raise ValueError(f"{op}: {name} must be on {like.device}, got {value.device}")
    return value.detach().resolve_conj().resolve_neg()


def check_steps(op: str, name: str, value: object, least: int = 0) -> int:
    """A whole number of steps."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{op}: {name} must be an int, got {type(value).__name__}")
    if not least <= value <= MOST_STEPS:
        raise ValueError(f"{op}: {name} must be in [{least}, {MOST_STEPS}], got {value}")
    return value


def check_weights(op: str, name: str, value: float | Tensor, like: Tensor) -> Tensor:
    """One real number for each sample; the values of a tensor are not looked at."""
    real = like.real.dtype
    if not isinstance(value, Tensor):
        number = check_number(op, name, value)
        if number > torch.finfo(real).max:
            raise ValueError(f"{op}: {name} must be finite as {real}, got {value}")
        return torch.full((len(like),), number, dtype=real, device=like.device)
    check_tensor(op, name, value)
    if not value.is_floating_point():
        raise TypeError(f"{op}: {name} must be floating point, got {value.dtype}")
    if value.shape not in ((), (1,), (len(like),)):
        raise ValueError(
            f"{op}: {name} must be a number or have one for each of {len(like)} samples, "
            f"got shape {tuple(value.shape)}"
        )
    if value.device != like.device and value.dim():
        raise ValueError(f"{op}: {name} must be on {like.device}, got {value.device}")
    return value.detach().to(like.device, real).expand(len(like)).contiguous()


def check_gamma(op: str, gamma: float | Tensor | None, like: Tensor) -> Tensor | None:
    """One weight for each sample, real, or None; the values of a tensor are not looked at."""
    return None if gamma is None else check_weights(op, "gamma", gamma, like)


def check_workspace(op: str, workspace: object, like: Tensor, **read: Tensor | None) -> None:
    """Scratch for the residual and the direction of ``like``, apart from all that is ``read``."""
    if workspace is None:
        return
    check_tensor(op, "workspace", workspace)
    assert isinstance(workspace, Tensor)
    if workspace.dtype != like.dtype:
        raise TypeError(f"{op}: workspace must be {like.dtype}, got {workspace.dtype}")
    if workspace.device != like.device:
        raise ValueError(f"{op}: workspace must be on {like.device}, got {workspace.device}")
    if workspace.dim() != 1 or workspace.numel() < 2 * like.numel() or workspace.stride(0) != 1:
        raise ValueError(
            f"{op}: workspace must be a contiguous vector of at least {2 * like.numel()} elements, "
            f"got shape {tuple(workspace.shape)} and strides {workspace.stride()}"
        )
    if workspace.is_conj() or workspace.is_neg():
        raise ValueError(f"{op}: workspace must be memory, got a conjugate or negative view")
    if is_real(workspace) and not is_watched():
        check_memory(op, {"workspace": workspace, **read}, ("workspace",))


def check_out(op: str, out: object, like: Tensor, like_name: str) -> None:
    """Memory for the solution."""
    if out is None:
        return
    check_alike(op, "out", out, like, like_name)
    assert isinstance(out, Tensor)
    if not out.is_contiguous() and overlaps_itself(out):
        raise ValueError(f"{op}: out must not overlap itself, got strides {out.stride()}")


def forced(op: str, backend: str | None) -> contextlib.AbstractContextManager[None]:
    """The backend that was asked for serves all that is called within."""
    if not (name := check_backend(op, backend)):
        return contextlib.nullcontext()
    return registry.backend(check_choice(op, "backend", name, BACKENDS))


def dot(u: Tensor, v: Tensor) -> Tensor:
    """(samples,) float64: inner products of real (samples, n), by a kernel where there is one."""
    if u.dtype == torch.float64:  # which no kernel serves, a forced one neither
        return by_torch(u, v)
    with registry.unless_absent("group_dot"):
        return group_dot(u, v, backend="")


def check_data(op: str, operator: Any, y: object) -> Tensor:
    """Data of an operator that has a side of data, as it takes them, contiguous."""
    check_tensor(op, "y", y)
    if not isinstance(operator, LinearOperator):
        raise TypeError(
            f"{op}: op must be a LinearOperator where y is given, got {type(operator).__name__}"
        )
    return read_data(operator, check_vector(op, "y", y)).contiguous()


def back_projection(op: str, operator: Any, z: Tensor, layout: Layout, y: Any, Aty: Any) -> Tensor:
    """A* y, given or computed, in the layout that the operator takes.

    Args:
        op: the solver.
        operator: A.
        z: the centre as the caller gave it.
        layout: of ``z``.
        y: data, or None.
        Aty: A* y like z, or None.
    """
    if (y is None) == (Aty is None):
        given = "neither" if y is None else "both"
        raise ValueError(f"{op}: y or Aty must be given, one of them, got {given}")
    if y is None:
        return layout.read(check_alike(op, "Aty", Aty, z, "z"))
    y = check_data(op, operator, y)
    return called(operator.adjoint, y, like=layout.read(z), name="z")
