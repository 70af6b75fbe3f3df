"""One engine for the low-rank optimizers: groups -> buckets of equal shape -> one list op each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from subkern.ops._checks import check_rate_device
from subkern.ops.adam import adam_
from subkern.ops.lowrank_adam import lowrank_adam_, lowrank_shape
from subkern.optim._checkpoint import restore_exactly
from subkern.optim._foreign import translated
from subkern.optim._groups import (
    ENGINE_DEFAULTS,
    check_gradient,
    check_group,
    check_parameters,
    rename_aliases,
    side_of,
    warn_clamped_ranks,
)
from subkern.optim._refresh import RETRY, Entry, refresh, wanted
from subkern.optim._streams import SideStreams, is_capturing

ADAM_KEYS = ("lr", "betas", "eps", "weight_decay", "correct_bias", "decay", "skip_nonfinite")
RULE_KEYS = ("scale", "gamma", "norm_eps", "alpha_in_residual", "granularity")


class LowRankOptimizer(torch.optim.Optimizer):
    """Base of the low-rank optimizers; a method names its rule and its defaults.

    Further group keys, each also a keyword of the constructor that sets the default:

    - ``basis``: "warm" (randomized first, then two over-relaxed power iterations from the last
      basis: ``topk_subspace(..., relax=True)``), "rsvd", "gram" (exact, from the Gram matrix),
      "svd" (exact, as published), or "random" (of the seed, whatever the gradient);
    - ``basis_dtype``: storage of the basis, None for the parameter's dtype;
    - ``states``: "fp32" moments, or "reference" (the parameter's dtype, as published);
    - ``phase``: "reference" refreshes on calls 1, gap + 1, ...; "staggered" spreads the refreshes
      of a group over the gap;
    - ``decay``: "post" (as published) or "pre" (as torch.optim.AdamW);
    - ``skip_nonfinite``: a non-finite gradient skips its parameter's step and counts it in the
      state ``skipped``;
    - ``weight_rounding``: "nearest"; ``seed``: of the randomized refresh;
    - ``capturable``: whether ``step`` may be captured into a CUDA graph.

    On an accelerator the host never learns whether a refresh was refused; it counts all the same.
    A refused first one (zero gradient, overflow) is tried again on calls 2, 4, 8, ... of its gap.

    ``lr`` may be a tensor on the CPU or beside the parameters, where a captured step reads it at
    every replay (a number, or a tensor on the CPU, is baked in). A capture holds the step alone and
    no refresh, and counts no calls: take one step before it, and refresh between replays::

        opt = GaLoreAdamW(groups, lr=torch.tensor(0.01, device="cuda"), capturable=True)
        graph = torch.cuda.CUDAGraph()
        ...                              # a step or two on a side stream, as CUDA graphs ask for
        opt.zero_grad(set_to_none=True)  # the capture makes gradients of its own
        with torch.cuda.graph(graph):
            loss(model, x).backward()
            opt.step()
        for i, batch in enumerate(data, 1):
            x.copy_(batch)
            graph.replay()
            if i % update_proj_gap == 0:
                opt.refresh()

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

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle; groups from before a key existed get its default."""
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("capturable", False)

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

    def _complete_group(
        self, saved: Mapping[str, Any], current: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The saved group under our key names; keys it lacks keep the optimizer's values."""
        kept = {
            key: value for key, value in current.items() if key not in ("params", "param_names")
        }
        group = kept | rename_aliases(self._name, saved)
        check_group(self._name, group)
        check_parameters(self._name, {**group, "params": current["params"]})
        return group | {"betas": tuple(group["betas"])}  # distributed state dicts make it a list

    def _own_values(
        self,
        owner: str,
        values: Mapping[str, Any],
        fresh: Mapping[str, Tensor],
        p: Tensor,
        group: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        """Saved values under our names; those of galore-torch and fira are translated."""
        if "skipped" in values:
            return values
        side = side_of(p.shape, group["proj_type"]) if "rank" in group else ""
        return translated(owner, values, fresh, side)

    @torch._disable_dynamo  # which bucket and which refresh: host decisions that change by call
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; ``closure`` is evaluated with gradients enabled and its value returned.

        The host waits for no accelerator, but in an exact or randomized refresh: torch.linalg.svd
        and eigh read the device. Refreshes run beside the step of the other parameters.

        Raises:
            RuntimeError: a sparse gradient, or a graph capture without ``capturable``.
            ValueError: a gradient or ``lr`` in the wrong place or shape; nothing has changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        capturing = self._check_capture()
        entries = self._entries(capturing)
        refreshed, counted = set(), []
        side = SideStreams()
        try:
            for entry in () if capturing else filter(_is_projected, entries):
                kind, counts = wanted(entry), True
                if kind is not None:
                    with side.on(entry.p.device):
                        counts = refresh(entry, retry=kind == RETRY)
                    refreshed.add(entry.index)
                if counts:
                    counted.append(entry.state["calls"])
            if counted:
                torch._foreach_add_(counted, 1)
            self._launch([e for e in entries if e.index not in refreshed])
        finally:
            side.join()
        self._launch([e for e in entries if e.index in refreshed])
        return loss

    @torch._disable_dynamo
    @torch.no_grad()
    def refresh(self) -> None:
        """Refresh every basis from the present gradients, for the time between graph replays.

        Counts as a refresh, not as a call. A zero or non-finite gradient keeps its basis.
        """
        if is_capturing():
            raise RuntimeError(f"{self._name}: refresh() must run between replays, not in a graph")
        for entry in filter(_is_projected, self._entries(False)):
            refresh(entry)

    def _check_capture(self) -> bool:
        """Whether a graph is being captured; worded as torch.optim does where that is refused."""
        capturing = is_capturing()
        if capturing and not all(group["capturable"] for group in self.param_groups):
            raise RuntimeError(
                f"Attempting CUDA graph capture of step() for an instance of {self._name} "
                "but param_groups' capturable is False."
            )
        return capturing

    def _entries(self, capturing: bool) -> list[Entry]:
        """Every parameter that has a gradient, all of them checked before the first write.

        All states exist before a side stream is told to wait for what was launched so far.
        """
        entries, first = [], 0
        for number, group in enumerate(self.param_groups):
            for i, p in enumerate(group["params"]):
                if p.grad is not None:
                    check_gradient(self._name, p, "rank" in group)
                    check_rate_device(self._name, group["lr"], p.device)
                    entries.append((p, number, i, first + i))
            first += len(group["params"])
        return [self._entry(*entry, capturing) for entry in entries]

    def _entry(self, p: Tensor, number: int, position: int, index: int, capturing: bool) -> Entry:
        group = self.param_groups[number]
        if not self.state[p]:
            if capturing:  # every replay would reset it
                raise RuntimeError(
                    f"{self._name}: a parameter without state must take a step before the capture"
                )
            self.state[p] = self._new_state(p, group, position)
        assert p.grad is not None
        return Entry(p, p.grad, self.state[p], group, number, index)

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
            state[name] = torch.tensor(value, dtype=torch.int64, device="cpu")
        if self.rule == "fira":
            state["limiter"] = torch.zeros((), dtype=torch.float32, device=p.device)
        return state

    def _launch(self, entries: Sequence[Entry]) -> None:
        """One list op per bucket: a group's parameters of one device, dtype and, projected, shape.

        How the parameters are split over calls does not change their results.
        """
        buckets: dict[Any, list[Entry]] = {}
        for e in entries:
            shapes = (e.p.shape, e.state["basis"].shape) if e.projected else None
            key = (e.group_number, e.p.device, e.p.dtype, e.state["exp_avg"].dtype, shapes)
            buckets.setdefault(key, []).append(e)
        for bucket in buckets.values():
            if bucket[0].projected:
                self._lowrank_step(bucket)
            else:
                self._adam_step(bucket)

    def _adam_step(self, bucket: Sequence[Entry]) -> None:
        columns = _columns(bucket, ("exp_avg", "exp_avg_sq", "step", "skipped"))
        adam_(*columns, **{k: bucket[0].group[k] for k in ADAM_KEYS})

    def _lowrank_step(self, bucket: Sequence[Entry]) -> None:
        names = ["basis", "exp_avg", "exp_avg_sq", "step", "skipped"]
        names += ["limiter"] if self.rule == "fira" else []
        group = bucket[0].group
        options = {k: group[k] for k in ADAM_KEYS + RULE_KEYS if k in group}
        if group["proj_type"] == "full":
            options["bases_right"] = [e.state["basis_right"] for e in bucket]
        side = side_of(bucket[0].p.shape, group["proj_type"])
        lowrank_adam_(*_columns(bucket, names), rule=self.rule, side=side, **options)


def _is_projected(entry: Entry) -> bool:
    return entry.projected


def _columns(bucket: Sequence[Entry], names: Sequence[str]) -> list[list[Tensor]]:
    """Parameters, gradients, and the named states, each as a list."""
    states = [[e.state[name] for e in bucket] for name in names]
    return [[e.p for e in bucket], [e.grad for e in bucket], *states]
