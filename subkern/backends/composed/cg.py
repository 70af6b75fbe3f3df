"""Conjugate gradients from the vector kernels of a backend, or from one kernel for the whole solve.

The iteration is the reference's; a backend puts its kernels in the place of the vector steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.backends.composed.support import cuda_refusal
from subkern.backends.registry import (
    Implementation,
    implementations,
    register,
    select,
    unless_absent,
)
from subkern.backends.registry import backend as forced
from subkern.backends.triton.support import refusal as triton_refusal
from subkern.backends.watched import is_real, is_watched
from subkern.reference import cg as reference
from subkern.reference.cg import Steps, System, WholeStep, as_real, by_sample
from subkern.reference.cg_step import cg_start as reference_start

SERVED = (torch.float32, torch.complex64)


class _Step:
    """A vector step by what serves it, chosen at the first of a solve's calls, which are all alike.

    A forced backend that has no such kernel is passed over. Where a compiler or a dispatch mode
    looks on, calls are calls of the op.

    Attributes:
        found: what serves the calls; None before the first, and where somebody looks on.
    """

    def __init__(self, op: str, overload: str, names: Sequence[str]):
        self._op, self._overload, self._names = op, overload, names
        self.found: Implementation | None = None

    def __call__(self, *given: Any) -> Any:
        if self.found is not None:
            return self.found.function(*given)
        first = given[0]
        with unless_absent(self._op):
            if is_watched() or not is_real(first):
                return getattr(torch.ops.subkern, self._overload).default(*given, backend="")
            call = dict(zip(self._names, given, strict=True))
            self.found = select(self._op, first.device.type, call)
        return self.found.function(*given)


def _dot() -> _Step:
    return _Step("group_dot", "group_dot", ("u", "v"))


def _steps() -> Steps:
    """The vector steps of one solve."""
    start = _Step("cg_start", "cg_start", ("r", "b", "rtol", "atol"))
    step = _Step("cg_step", "cg_step_", ("x", "r", "p", "q", "curvature", "state"))

    def whole(x: Tensor, r: Tensor, p: Tensor, state: Tensor) -> WholeStep:
        """Of what made the state, where it also makes steps."""
        if start.found is not None and start.found.prepare is not None:
            return start.found.prepare(x, r, p, state)
        return lambda q, curvature: step(x, r, p, as_real(q, len(x)), curvature, state)

    return Steps(
        start,
        _dot(),
        _Step("cg_step_residual", "cg_step_residual_", ("r", "q", "curvature", "state")),
        _Step("cg_step_direction", "cg_step_direction_", ("x", "p", "z", "state")),
        whole,
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
    steps = _steps()
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
            steps=steps,
            **options,
        )
    x, rr, iterations, status = found
    if true_residual:
        r = System(normal, rhs, gamma, centre).residual(x).contiguous()
        r = as_real(r, normal.groups(coupling, len(r), r))
        rr = steps.dot(r, r)
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


def can_serve_start(backend: str, *, r: Tensor, b: Tensor | None, **_: object) -> str | None:
    """None, or why a call needs another backend: what its inner product says."""
    dot = next(found for found in implementations("group_dot") if found.backend == backend)
    return dot.can_serve(u=r, v=r if b is None else b)


def cg_start(backend: str, r: Tensor, b: Tensor | None, rtol: float, atol: float) -> Tensor:
    """See :func:`subkern.reference.cg_step.cg_start`; the inner products are kernels."""
    with forced(backend):
        return reference_start(r, b, rtol, atol, _dot())


for _name in ("cpu", "cuda", "triton"):
    register("cg", _name, partial(can_serve, _name), composed=True)(cg)
    if _name != "cpu":  # which has a kernel
        start = partial(cg_start, _name)
        register("cg_start", _name, partial(can_serve_start, _name), composed=True)(start)
