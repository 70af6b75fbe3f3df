"""One engine for the low-rank optimizers: groups -> buckets of equal shape -> one list op each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from subkern.ops.adam import adam_
from subkern.ops.lowrank_adam import lowrank_adam_, lowrank_shape
from subkern.optim._basis import refresh_basis
from subkern.optim._checkpoint import restore_exactly
from subkern.optim._groups import (
    ENGINE_DEFAULTS,
    check_gradient,
    check_group,
    check_parameters,
    rename_aliases,
    side_of,
    warn_clamped_ranks,
)

ADAM_KEYS = ("lr", "betas", "eps", "weight_decay", "correct_bias", "decay", "skip_nonfinite")
RULE_KEYS = ("scale", "gamma", "norm_eps", "alpha_in_residual", "granularity")


class LowRankOptimizer(torch.optim.Optimizer):
    """Base of the low-rank optimizers; a method names its rule and its defaults.

    Further group keys, each also a keyword of the constructor that sets the default:

    - ``basis``: "warm" (randomized first, then one power iteration from the last basis), "rsvd", or
      "svd" (exact, as published);
    - ``basis_dtype``: storage of the basis, None for the parameter's dtype;
    - ``states``: "fp32" moments, or "reference" (the parameter's dtype, as published);
    - ``phase``: "reference" refreshes on calls 1, gap + 1, ...; "staggered" spreads the refreshes
      of a group over the gap;
    - ``decay``: "post" (as published) or "pre" (as torch.optim.AdamW);
    - ``skip_nonfinite``: a non-finite gradient skips its parameter's step and counts it in the
      state ``skipped``;
    - ``weight_rounding``: "nearest"; ``seed``: of the randomized refresh.

    State per parameter is tensors alone: ``step``, ``skipped``, ``exp_avg``, ``exp_avg_sq``, and in
    low-rank groups ``basis`` (``basis_right``), ``calls``, ``refreshes``, ``offset``, ``limiter``.
    """

    rule: ClassVar[str]
    method_defaults: ClassVar[dict[str, Any]]

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
        no_deprecation_warning: bool = False,
        **engine: Any,
    ) -> None:
        del no_deprecation_warning
        known = ENGINE_DEFAULTS | self.method_defaults
        engine = rename_aliases(self._name, engine)
        if unknown := sorted(set(engine) - set(known)):
            raise ValueError(
                f"{self._name}: keyword must be one of {', '.join(sorted(known))}, "
                f"got {', '.join(unknown)}"
            )
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, correct_bias=correct_bias
        )
        super().__init__(params, {**defaults, **known, **engine})

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its state is created at once, so that a state dict is always complete."""
        if not isinstance(param_group, dict):
            raise TypeError(
                f"{self._name}: param_group must be a dict, got {type(param_group).__name__}"
            )
        group = rename_aliases(self._name, param_group)
        params = group["params"]
        group["params"] = [params] if isinstance(params, Tensor) else list(params)
        check_group(self._name, {**self.defaults, **group})
        tensors = [p[1] if isinstance(p, tuple) else p for p in group["params"]]
        if all(isinstance(p, Tensor) for p in tensors):  # torch words the error for other kinds
            check_parameters(self._name, {**group, "params": tensors})
            warn_clamped_ranks(self._name, {**group, "params": tensors})
        super().add_param_group(group)
        group = self.param_groups[-1]
        for i, p in enumerate(group["params"]):
            if p.requires_grad:
                self.state[p] = self._new_state(p, group, i)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict; every value keeps the dtype it was saved with.

        State of galore-torch and fira is accepted too: integer steps, and the basis of a projector
        object; the group keys they lack keep this optimizer's values.

        Raises:
            ValueError: a group value out of range, or a state of the wrong shape; nothing changes.
        """
        with restore_exactly(self):
            super().load_state_dict(state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; ``closure`` is evaluated with gradients enabled and its value returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:  # all of them before the first write
            for p in group["params"]:
                if p.grad is not None:
                    check_gradient(self._name, p, "rank" in group)
        first = 0
        for group in self.param_groups:
            if "rank" in group:
                self._lowrank_step(group, first)
            else:
                self._adam_step(group)
            first += len(group["params"])
        return loss

    def _new_state(self, p: Tensor, group: dict[str, Any], position: int) -> dict[str, Tensor]:
        """Zero moments, unit-vector basis, zero counters."""
        state: dict[str, Tensor] = {}
        shape: Sequence[int] = p.shape
        if "rank" in group:
            (m, n), rank = p.shape, min(group["rank"], *p.shape)
            side = side_of((m, n), group["proj_type"])
            shape = lowrank_shape(m, n, rank, side)
        wide = torch.float64 if p.dtype == torch.float64 else torch.float32
        moment_dtype = p.dtype if group["states"] == "reference" else wide
        state["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
        state["skipped"] = torch.zeros((), dtype=torch.float32, device=p.device)
        for name in ("exp_avg", "exp_avg_sq"):
            # An unprojected parameter's moments keep its strides: one pass walks all four buffers.
            state[name] = (
                torch.zeros(shape, dtype=moment_dtype, device=p.device)
                if "rank" in group
                else torch.zeros_like(p, dtype=moment_dtype)
            )
        if "rank" not in group:
            return state
        basis_dtype = p.dtype if group["basis_dtype"] is None else group["basis_dtype"]
        sides = {"basis": n if side == "right" else m} | (
            {"basis_right": n} if side == "full" else {}
        )
        for name, k in sides.items():
            state[name] = torch.eye(k, rank, dtype=basis_dtype, device=p.device)
        gap, count = group["update_proj_gap"], len(group["params"])
        offset = position * gap // count if group["phase"] == "staggered" else 0
        # Counters that decide what the host does stay on the host.
        for name, value in (("calls", 0), ("refreshes", 0), ("offset", offset)):
            state[name] = torch.tensor(value, dtype=torch.int64)
        if self.rule == "fira":
            state["limiter"] = torch.zeros((), dtype=torch.float32, device=p.device)
        return state

    def _with_gradients(self, group: dict[str, Any]):
        """Yields (position, parameter, gradient, state) for every parameter that has a gradient."""
        for i, p in enumerate(group["params"]):
            if p.grad is None:
                continue
            if not self.state[p]:
                self.state[p] = self._new_state(p, group, i)
            yield i, p, p.grad, self.state[p]

    def _adam_step(self, group: dict[str, Any]) -> None:
        buckets: dict[Any, list[tuple[Tensor, ...]]] = {}
        for _, p, grad, state in self._with_gradients(group):
            row = tuple(state[k] for k in ("exp_avg", "exp_avg_sq", "step", "skipped"))
            key = (p.device, p.dtype, row[0].dtype)
            buckets.setdefault(key, []).append((p, grad, *row))
        for rows in buckets.values():
            adam_(*map(list, zip(*rows, strict=True)), **{k: group[k] for k in ADAM_KEYS})

    def _lowrank_step(self, group: dict[str, Any], first: int) -> None:
        names = ["basis", "exp_avg", "exp_avg_sq", "step", "skipped"]
        names += ["limiter"] if self.rule == "fira" else []
        full = group["proj_type"] == "full"
        buckets: dict[Any, list[tuple[Tensor, ...]]] = {}
        for i, p, grad, state in self._with_gradients(group):
            self._refresh_if_due(p, grad, state, group, first + i)
            right = (state["basis_right"],) if full else ()
            row = (p, grad, *(state[k] for k in names), *right)
            key = (p.device, p.dtype, p.shape, state["exp_avg"].dtype, state["basis"].shape)
            buckets.setdefault(key, []).append(row)
        keys = ADAM_KEYS + tuple(k for k in RULE_KEYS if k in group)
        options = {k: group[k] for k in keys} | {"rule": self.rule}
        for (_, _, shape, *_), rows in buckets.items():
            columns = [list(column) for column in zip(*rows, strict=True)]
            if full:
                options["bases_right"] = columns.pop()
            options["side"] = side_of(shape, group["proj_type"])
            lowrank_adam_(*columns, **options)

    def _refresh_if_due(
        self, p: Tensor, grad: Tensor, state: dict[str, Tensor], group: dict[str, Any], index: int
    ) -> None:
        """Refresh on the first call and on every gap-th.

        A zero or non-finite gradient keeps the basis, and the refresh stays due: the count of calls
        waits, so that neither distributed checkpointing's zero step nor an overflow loses one.
        """
        calls, refreshes = int(state["calls"]), int(state["refreshes"])
        due = refreshes == 0 or (calls + int(state["offset"])) % group["update_proj_gap"] == 0
        if not due:
            state["calls"] += 1
            return
        names = ["basis", "basis_right"] if "basis_right" in state else ["basis"]
        bases = refresh_basis(
            group["basis"],
            grad,
            state["basis"].shape[1],
            side_of(p.shape, group["proj_type"]),
            [state[name] for name in names] if refreshes else None,
            (group["seed"], index, refreshes),
        )
        if bases is None:
            return
        for name, basis in zip(names, bases, strict=True):
            state[name].copy_(basis)
        state["refreshes"] += 1
        state["calls"] += 1
