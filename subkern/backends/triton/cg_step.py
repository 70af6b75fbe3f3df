"""A step of conjugate gradients by Triton: its halves are two launches and one."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from subkern.backends.cpu.vectors import direction_refusal, residual_refusal, step_refusal
from subkern.backends.registry import register
from subkern.backends.triton import launch
from subkern.backends.triton.group_dot import group_dot
from subkern.backends.triton.support import refusal
from subkern.backends.triton.vectors import Parts


def can_serve_residual(*, r: Tensor, q: Tensor, curvature: Tensor, state: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    return residual_refusal(r, q, curvature, state) or refusal([r], [])


@register("cg_step_residual", "triton", can_serve_residual)
def cg_step_residual_(r: Tensor, q: Tensor, curvature: Tensor, state: Tensor) -> None:
    """See :func:`subkern.reference.cg_step.cg_step_residual_`."""
    from subkern.triton_kernels.cg_step import _cg_step_residual_kernel, _cg_step_state_kernel

    if not r.shape[0]:
        return
    parts = Parts(r, q)
    sums = parts.sums(r.device)
    scalars = dict(curvature_ptr=curvature, state_ptr=state)
    with launch.on(r.device):
        if r.numel():
            launch.run(
                _cg_step_residual_kernel,
                parts.grid,
                r_ptr=r,
                q_ptr=q,
                sums_ptr=sums["sums_ptr"],
                **scalars,
                **parts.arguments(),
            )
        launch.run(_cg_step_state_kernel, (parts.groups,), **scalars, **sums)


def can_serve_direction(*, x: Tensor, p: Tensor, z: Tensor, state: Tensor) -> str | None:
    """None, or why this call needs another backend."""
    return direction_refusal(x, p, z, state) or refusal([x], [])


@register("cg_step_direction", "triton", can_serve_direction)
def cg_step_direction_(x: Tensor, p: Tensor, z: Tensor, state: Tensor) -> None:
    """See :func:`subkern.reference.cg_step.cg_step_direction_`."""
    from subkern.triton_kernels.cg_step import _cg_step_direction_kernel

    if not x.numel():
        return
    parts = Parts(x, p, z)
    with launch.on(x.device):
        launch.run(
            _cg_step_direction_kernel,
            parts.grid,
            x_ptr=x,
            p_ptr=p,
            z_ptr=z,
            state_ptr=state,
            **parts.arguments(),
        )


def can_serve(*, x: Tensor, **others: Any) -> str | None:
    """None, or why this call needs another backend."""
    return step_refusal(x, **others) or refusal([x], [])


@register("cg_step", "triton", can_serve)
def cg_step_(
    x: Tensor, r: Tensor, p: Tensor, q: Tensor, curvature: Tensor | None, state: Tensor
) -> None:
    """See :func:`subkern.reference.cg_step.cg_step_`."""
    cg_step_residual_(r, q, group_dot(p, q) if curvature is None else curvature, state)
    cg_step_direction_(x, p, r, state)
