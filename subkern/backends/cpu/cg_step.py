"""A step of conjugate gradients and its halves on the CPU: blocks of all groups on threads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import empty
from subkern.backends.cpu.vectors import direction_refusal, residual_refusal, step_refusal
from subkern.backends.registry import register


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


@register("cg_step", "cpu", can_serve)
def cg_step_(
    x: Tensor, r: Tensor, p: Tensor, q: Tensor, curvature: Tensor | None, state: Tensor
) -> None:
    """See :func:`subkern.reference.cg_step.cg_step_`; one native call."""
    groups, n = x.shape
    kernels = native.module()
    room = kernels.cg_step_workspace(groups=groups, n=n) + 8 * groups  # for <p, q>
    scratch = empty(room, dtype=torch.uint8)
    kernels.cg_step(
        x.data_ptr(),
        r.data_ptr(),
        p.data_ptr(),
        q.data_ptr(),
        0 if curvature is None else curvature.data_ptr(),
        state.data_ptr(),
        groups,
        n,
        scratch.data_ptr(),
        room,
        torch.get_num_threads(),
    )
