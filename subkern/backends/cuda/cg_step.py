"""A step of conjugate gradients on CUDA, whole or by halves; its scalars stay on the device."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.vectors import direction_refusal, residual_refusal, step_refusal
from subkern.backends.cuda.device import queue
from subkern.backends.cuda.group_dot import group_dot
from subkern.backends.cuda.vectors import Sums, device_refusal
from subkern.backends.registry import register


def can_serve_residual(*, r: Tensor, q: Tensor, curvature: Tensor, state: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    return device_refusal(r) or residual_refusal(r, q, curvature, state)


@register("cg_step_residual", "cuda", can_serve_residual)
def cg_step_residual_(r: Tensor, q: Tensor, curvature: Tensor, state: Tensor) -> None:
    """See :func:`subkern.reference.cg_step.cg_step_residual_`."""
    groups, n = r.shape
    kernels = native.module("_CUDA")
    scratch = Sums(kernels.cg_step_workspace(groups=groups, n=n), groups, r.device)
    kernels.cg_step_residual(
        r=r.data_ptr(),
        q=q.data_ptr(),
        curvature=curvature.data_ptr(),
        state=state.data_ptr(),
        groups=groups,
        n=n,
        **scratch.arguments(),
        **queue(r.device),
    )


def can_serve_direction(*, x: Tensor, p: Tensor, z: Tensor, state: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    return device_refusal(x) or direction_refusal(x, p, z, state)


@register("cg_step_direction", "cuda", can_serve_direction)
def cg_step_direction_(x: Tensor, p: Tensor, z: Tensor, state: Tensor) -> None:
    """See :func:`subkern.reference.cg_step.cg_step_direction_`."""
    groups, n = x.shape
    native.module("_CUDA").cg_step_direction(
        x=x.data_ptr(),
        p=p.data_ptr(),
        z=z.data_ptr(),
        state=state.data_ptr(),
        groups=groups,
        n=n,
        **queue(x.device),
    )


def can_serve(*, x: Tensor, **others: Any) -> str | None:
    """None, or why this call needs another backend."""
    return device_refusal(x) or step_refusal(x, **others)


@register("cg_step", "cuda", can_serve)
def cg_step_(
    x: Tensor, r: Tensor, p: Tensor, q: Tensor, curvature: Tensor | None, state: Tensor
) -> None:
    """See :func:`subkern.reference.cg_step.cg_step_`."""
    cg_step_residual_(r, q, group_dot(p, q) if curvature is None else curvature, state)
    cg_step_direction_(x, p, r, state)
