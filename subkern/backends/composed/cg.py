"""Conjugate gradients from the vector kernels of a backend, or from one kernel for the whole solve.

The iteration is the reference's; a backend puts its kernels in the place of the vector steps.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.backends.composed.support import cuda_refusal
from subkern.backends.registry import register, unless_absent
from subkern.backends.triton.support import refusal as triton_refusal
from subkern.reference import cg as reference
from subkern.reference.cg import Steps, System, as_real, by_sample

SERVED = (torch.float32, torch.complex64)


def _step(op: str, *tensors: Tensor) -> Any:
    """A vector step by what serves it: a forced backend that has no such kernel is passed over."""
    from subkern.ops import cg_step, group_dot

    call = {
        "group_dot": group_dot.group_dot,
        "cg_step_residual": cg_step.cg_step_residual_,
        "cg_step_direction": cg_step.cg_step_direction_,
    }[op]
    with unless_absent(op):
        return call(*tensors, backend="")


STEPS = Steps(
    *(partial(_step, op) for op in ("group_dot", "cg_step_residual", "cg_step_direction"))
)


def cg(
    normal: Any,
    rhs: Tensor,
    x0: Tensor | None,
    centre: Tensor | None,
    gamma: Tensor | None,
    *,
    coupling: str,
    workspace: Tensor | None,
    true_residual: bool,
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`subkern.reference.cg.cg`."""
    fixed = not any(options[name] for name in ("rtol", "atol", "precond", "replace_every"))
    found = None
    if fixed:
        found = normal.solve_fixed(
            rhs, x0, centre, gamma, maxiter=options["maxiter"], coupling=coupling
        )
    if found is None:
        return reference.cg(
            *(normal, rhs, x0, centre, gamma),
            coupling=coupling,
            workspace=workspace,
            true_residual=true_residual,
            steps=STEPS,
            **options,
        )
    x, rr, iterations, status = found
    if true_residual:
        r = System(normal, rhs, gamma, centre).residual(x).contiguous()
        r = as_real(r, normal.groups(coupling, len(r), r))
        rr = STEPS.dot(r, r)
    return x, *by_sample(rr, iterations, status, len(rhs))


def can_serve(backend: str, *, rhs: Tensor, **_: object) -> str | None:
    """None, or why a call needs another backend."""
    if rhs.dtype not in SERVED:
        return f"serves float32 and complex64, got {rhs.dtype}"
    if backend == "cpu" and rhs.device.type != "cpu":
        return f"serves CPU tensors only, got {rhs.device.type}"
    if backend == "triton":
        return triton_refusal([rhs.real], [])
    return None if backend == "cpu" else cuda_refusal(rhs)


for _name in ("cpu", "cuda", "triton"):
    register("cg", _name, partial(can_serve, _name), composed=True)(cg)
