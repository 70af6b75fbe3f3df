"""The start, a step and its halves of conjugate gradients on the CPU: blocks on threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import addresses, empty
from subkern.backends.cpu.vectors import (
    direction_refusal,
    dot_refusal,
    residual_refusal,
    step_refusal,
)
from subkern.backends.registry import register
from subkern.reference.cg_step import COLUMNS

VECTORS = (torch.float32, torch.complex64)  # of what a solver's operator answers with
SCALARS = (torch.float64,)


def can_serve_residual(*, r: Tensor, q: Tensor, curvature: Tensor, state: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    if r.device.type != "cpu":
        return f"serves CPU tensors only, got {r.device.type}"
    return residual_refusal(r, q, curvature, state) or native.refusal()


@register("cg_step_residual", "cpu", can_serve_residual)
def cg_step_residual_(r: Tensor, q: Tensor, curvature: Tensor, state: Tensor) -> None:
    """See :func:`subkern.reference.cg_step.cg_step_residual_`."""
    groups, n = r.shape
    kernels = native.module()
    scratch = empty(kernels.cg_step_workspace(groups=groups, n=n), dtype=torch.uint8)
    kernels.cg_step_residual(
        r=r.data_ptr(),
        q=q.data_ptr(),
        curvature=curvature.data_ptr(),
        state=state.data_ptr(),
        groups=groups,
        n=n,
        workspace=scratch.data_ptr(),
        workspace_bytes=scratch.numel(),
        threads=torch.get_num_threads(),
    )


def can_serve_direction(*, x: Tensor, p: Tensor, z: Tensor, state: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    if x.device.type != "cpu":
        return f"serves CPU tensors only, got {x.device.type}"
    return direction_refusal(x, p, z, state) or native.refusal()


@register("cg_step_direction", "cpu", can_serve_direction)
def cg_step_direction_(x: Tensor, p: Tensor, z: Tensor, state: Tensor) -> None:
    """See :func:`subkern.reference.cg_step.cg_step_direction_`."""
    groups, n = x.shape
    native.module().cg_step_direction(
        x=x.data_ptr(),
        p=p.data_ptr(),
        z=z.data_ptr(),
        state=state.data_ptr(),
        groups=groups,
        n=n,
        threads=torch.get_num_threads(),
    )


def can_serve(*, x: Tensor, **others: Any) -> str | None:
    """None, or why this call needs another backend."""
    if x.device.type != "cpu":
        return f"serves CPU tensors only, got {x.device.type}"
    return step_refusal(x, **others) or native.refusal()


def prepare(
    x: Tensor, r: Tensor, p: Tensor, state: Tensor
) -> Callable[[Tensor, Tensor | None], None]:
    """The steps of a solve whose vectors these are: what they need of them is asked for once.

    Args:
        x: (groups, n); so for the next two.
        r: checked.
        p: not yet.
        state: of ``cg_start``.

    Returns:
        What takes H p in any shape, also complex, and its curvature.
    """
    groups, n = x.shape
    kernels = native.module()
    room = kernels.cg_step_workspace(groups=groups, n=n) + 8 * groups  # for <p, q>
    kept = (x, r, p, state, empty(room, dtype=torch.uint8))
    at_x, at_r, at_p, at_state, at_room = addresses(kept)
    size = r.nbytes
    _check_memory(x, "x", VECTORS, size)
    _check_memory(p, "p", VECTORS, size)

    def step(q: Tensor, curvature: Tensor | None, kept: object = kept) -> None:
        _check_memory(q, "q", VECTORS, size)
        at_curvature = 0
        if curvature is not None:
            _check_memory(curvature, "curvature", SCALARS, 8 * groups)
            at_curvature = curvature.data_ptr()
        if (p.data_ptr(), r.data_ptr()) != (at_p, at_r):  # memory that operators can reach
            raise RuntimeError("cg_step: p and r must stay where they were, got other memory")
        at_q, threads = q.data_ptr(), torch.get_num_threads()
        kernels.cg_step(
            *(at_x, at_r, at_p, at_q, at_curvature, at_state, groups, n, at_room, room, threads)
        )

    return step


def _check_memory(t: Tensor, name: str, dtypes: Sequence[torch.dtype], size: int) -> None:
    """Raise unless a tensor is so many bytes of memory without gaps that mean what they hold."""
    plain = t.is_cpu and t.is_contiguous() and not (t.is_conj() or t.is_neg())
    if not plain or t.dtype not in dtypes or t.nbytes != size:
        raise ValueError(
            f"cg_step: {name} must be {size} contiguous bytes of {dtypes[0]}, got {t.dtype} of "
            f"shape {tuple(t.shape)} and strides {t.stride()} on {t.device}"
        )


@register("cg_step", "cpu", can_serve)
def cg_step_(
    x: Tensor, r: Tensor, p: Tensor, q: Tensor, curvature: Tensor | None, state: Tensor
) -> None:
    """See :func:`subkern.reference.cg_step.cg_step_`; one native call."""
    prepare(x, r, p, state)(q, curvature)


def can_serve_start(*, r: Tensor, b: Tensor | None, **_: float) -> str | None:
    """None, or why this call needs another backend."""
    if r.device.type != "cpu":
        return f"serves CPU tensors only, got {r.device.type}"
    return (dot_refusal(r) if b is None else dot_refusal(r, b)) or native.refusal()


@register("cg_start", "cpu", can_serve_start, prepare=prepare)
def cg_start(r: Tensor, b: Tensor | None, rtol: float, atol: float) -> Tensor:
    """See :func:`subkern.reference.cg_step.cg_start`; one native call."""
    groups, n = r.shape
    kernels = native.module()
    state = empty(groups, COLUMNS, dtype=torch.float64)
    scratch = empty(kernels.cg_start_workspace(groups, n), dtype=torch.uint8)
    kernels.cg_start(
        r.data_ptr(),
        0 if b is None else b.data_ptr(),
        rtol,
        atol,
        state.data_ptr(),
        groups,
        n,
        scratch.data_ptr(),
        scratch.numel(),
        torch.get_num_threads(),
    )
    return state
