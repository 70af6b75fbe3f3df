"""Sparse Spectral Training (Zhao et al., 2024, arXiv:2405.15481)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from subkern.nn.sst_linear import SSTLinear, owners
from subkern.ops._checks import check_flag, check_number, check_rate_device
from subkern.ops.adam import check_adam_numbers
from subkern.ops.sst_adamw import sst_adamw_
from subkern.optim._checkpoint import restore_exactly
from subkern.optim._groups import check_count, check_gradient, check_parameters
from subkern.optim._spectral import (
    MOMENTS,
    check_layers,
    check_sampled,
    decompose,
    draw,
    layers_among,
)
from subkern.optim._streams import is_capturing

STEP_KEYS = ("lr", "betas", "eps", "weight_decay", "value_scale", "vector_scale", "skip_nonfinite")


class SSTAdamW(torch.optim.Optimizer):
    """AdamW on singular values and on a changing sample of singular vectors.

    For every :class:`subkern.nn.SSTLinear`, W = U diag(S) V^T, each step takes (N is Adam's
    bias-corrected direction of the gradient; ``sampled`` are r of the k vector pairs)::

        S <- max(S (1 - eta wd) - eta N, 0)          all k,   eta = lr value_scale
        u <- (u - eta N) / ||u - eta N||             sampled, eta = lr vector_scale min(1, t/warmup)

    on dS_i = u_i^T G v_i and the enhanced gradients G v_i, G^T u_i, without the factor S_i; v like
    u. Every ``iteration_steps`` steps r pairs are drawn without replacement, pair i with weight
    uniform / k + (1 - uniform) S_i / sum S; their moments and t start again. Every
    ``iterations_per_round`` draws (ceil(k / r)) a new singular value decomposition of the product
    restores orthogonality; moments of S follow their place in the order of size. Other parameters
    take torch's fused AdamW step. Both scales matter: with vectors and values at the base rate most
    of the gain over plain low-rank training is lost.

    Where published texts leave a choice, it is an argument: ``iteration_steps``, ``warmup_steps``,
    ``uniform`` (0 draws by S alone), ``reset_values`` (start the moments of S again, too, at a
    draw), and ``value_scale``, ``vector_scale``.

    Args:
        params: a model, all of whose trainable parameters are taken, or parameters or group dicts
            as in torch.optim. Of an SSTLinear layer S, U_sampled and V_sampled belong together, in
            one group; they are recognized. A layer that is frozen as a whole stays as it is.
        lr: learning rate, a number or a one-element tensor.
        betas: decay rates of the moments.
        eps: added to the corrected root of V.
        weight_decay: decoupled; on singular values and other parameters, never on unit vectors.
        layers: SSTLinear layers that must be among ``params``, as a check; a group dict may name
            its own under ``"layers"``.
        value_scale: factor on the rate of singular values.
        vector_scale: factor on the rate of singular vectors.
        iteration_steps: steps between draws.
        iterations_per_round: draws between decompositions; None is ceil(k / r) of each layer.
        warmup_steps: steps over which the rate of newly drawn vectors rises.
        uniform: share of the uniform distribution in the draw, in [0, 1].
        reset_values: whether a draw also restarts the moments of S.
        skip_nonfinite: a vector with a gradient that is not finite keeps its value and moments and
            is counted in the state ``skipped``; False spreads it. torch's step always does.
        capturable: whether ``step`` may be captured into a CUDA graph; a capture counts no steps
            and draws nothing, call :meth:`next_iteration` between replays.
        seed: of the draws.

    All but ``layers`` are group keys. Group ``taken`` counts steps. State per parameter is tensors
    alone: ``step``, ``exp_avg``, ``exp_avg_sq``; of spectral ones also ``skipped``, and of
    U_sampled ``sampled``. Save the model beside it: a resumed run gives the same bits.

    Raises:
        TypeError: a parameter or argument of the wrong kind.
        ValueError: a value out of range, a layer of which parameters are missing or in two groups.

    Backends: reference, cpu, cuda.

    Example:
        >>> import torch, subkern
        >>> model = subkern.nn.convert_to_sst(torch.nn.Sequential(torch.nn.Linear(8, 8)), rank=2)
        >>> opt = subkern.optim.SSTAdamW(model, lr=1e-3, iteration_steps=20)
        >>> model(torch.ones(4, 8)).square().sum().backward()
        >>> opt.step()
    """

    def __init__(
        self,
        params: nn.Module | Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        layers: Iterable[SSTLinear] | None = None,
        value_scale: float = 10.0,
        vector_scale: float = 4.0,
        iteration_steps: int = 200,
        iterations_per_round: int | None = None,
        warmup_steps: int = 20,
        uniform: float = 0.5,
        reset_values: bool = False,
        skip_nonfinite: bool = True,
        capturable: bool = False,
        seed: int = 0,
    ) -> None:
        if isinstance(params, nn.Module):
            params = [p for p in params.parameters() if p.requires_grad]
        named = check_layers(self._name, () if layers is None else layers)
        self._layers: list[list[SSTLinear]] = []  # of each group
        defaults = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            value_scale=value_scale,
            vector_scale=vector_scale,
            iteration_steps=iteration_steps,
            iterations_per_round=iterations_per_round,
            warmup_steps=warmup_steps,
            uniform=uniform,
            reset_values=reset_values,
            skip_nonfinite=skip_nonfinite,
            capturable=capturable,
            seed=seed,
            taken=0,
        )
        super().__init__(params, defaults)
        self._check_known(named, itertools.chain.from_iterable(self._layers))

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles take the layers along, which torch's own leave out."""
        return {**super().__getstate__(), "_layers": self._layers}

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; the first pairs of its SSTLinear layers are drawn."""
        if not isinstance(param_group, dict):
            raise TypeError(
                f"{self._name}: param_group must be a dict, got {type(param_group).__name__}"
            )
        group = dict(param_group)
        if "params" not in group:
            raise ValueError(f"{self._name}: param_group must have params, got {list(group)}")
        named = check_layers(self._name, group.pop("layers", ()))
        params = group["params"]
        group["params"] = [params] if isinstance(params, Tensor) else list(params)
        _check_group(self._name, {**self.defaults, **group})
        tensors = [p[1] if isinstance(p, tuple) else p for p in group["params"]]
        mine: list[SSTLinear] = []
        if all(isinstance(p, Tensor) for p in tensors):  # torch words the error for other kinds
            check_parameters(self._name, {**group, "params": tensors})
            mine = layers_among(self._name, tensors)
        self._check_known(named, mine)
        super().add_param_group(group)
        group = self.param_groups[-1]
        first = sum(map(len, self._layers))
        self._layers.append(mine)
        for i, p in enumerate(group["params"]):
            if p.requires_grad:
                self.state[p] = self._new_state(p, group, i)
        for number, layer in enumerate(mine, first):
            draw(layer, group, self.state, number)

    def _check_known(self, named: Iterable[SSTLinear], known: Iterable[SSTLinear]) -> None:
        ours = {id(layer) for layer in known}
        missing = sum(id(layer) not in ours for layer in named)
        if missing:
            raise ValueError(
                f"{self._name}: layers must have their parameters among params, "
                f"got {missing} without"
            )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict; every value keeps its dtype, and the layers their sampled pairs.

        Raises:
            ValueError: a group value out of range, or a state of the wrong shape; nothing changes.
        """
        with restore_exactly(self):
            super().load_state_dict(state_dict)
        for layer in itertools.chain.from_iterable(self._layers):
            if (state := self.state.get(layer.U_sampled)) is not None:
                layer.set_sampled(state["sampled"])

    @torch._disable_dynamo
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; ``closure`` is evaluated with gradients enabled and its value returned.

        A step reads nothing back from an accelerator, but for the decomposition at a round's end.

        Raises:
            RuntimeError: a sparse gradient, or a graph capture without ``capturable``.
            ValueError: a gradient or ``lr`` in the wrong place or shape; nothing has changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        capturing = is_capturing()
        if capturing and not all(group["capturable"] for group in self.param_groups):
            raise RuntimeError(
                f"Attempting CUDA graph capture of step() for an instance of {self._name} "
                "but param_groups' capturable is False."
            )
        trained = [self._trained(group) for group in self.param_groups]
        for group, layers, params in zip(self.param_groups, self._layers, trained, strict=True):
            spectral = [p for layer in layers for p in layer.trained() if p.grad is not None]
            self._step_spectral(group, layers, spectral)
            known = {id(p) for p in spectral}
            self._step_plain(group, [p for p in params if id(p) not in known])
            if not capturing:
                group["taken"] += 1
                if group["taken"] % group["iteration_steps"] == 0:
                    self._turn(group, layers)
        return loss

    @torch._disable_dynamo
    @torch.no_grad()
    def next_iteration(self) -> None:
        """End the iteration now: draw new pairs, after a decomposition where a round ends with it.

        For the time between replays of a captured step, every ``iteration_steps`` of them.
        """
        if is_capturing():
            raise RuntimeError(f"{self._name}: next_iteration() must run between replays")
        for group, layers in zip(self.param_groups, self._layers, strict=True):
            whole = group["iteration_steps"]
            group["taken"] = (group["taken"] // whole + 1) * whole
            self._turn(group, layers)

    def _trained(self, group: dict[str, Any]) -> list[Tensor]:
        """Parameters with a gradient; all are checked, and have a state, before the first write."""
        params = [p for p in group["params"] if p.grad is not None]
        for i, p in enumerate(params):
            check_gradient(self._name, p, projected=False)
            check_rate_device(self._name, group["lr"], p.device)
            if not self.state[p]:
                self.state[p] = self._new_state(p, group, i)
        return params

    def _new_state(self, p: Tensor, group: dict[str, Any], position: int) -> dict[str, Tensor]:
        """Zero moments and counters, and the pairs that the layer trains."""
        known = itertools.chain.from_iterable(self._layers)
        mine = (layer for layer in known if any(p is one for one in layer.trained()))
        state = {"step": torch.zeros((), dtype=torch.float32, device=p.device)}
        if (layer := next(mine, None)) is None:
            return state | {name: torch.zeros_like(p) for name in MOMENTS}
        wide = torch.float64 if p.dtype == torch.float64 else torch.float32
        state |= {name: torch.zeros_like(p, dtype=wide) for name in MOMENTS}
        state["skipped"] = torch.zeros((), dtype=torch.float32, device=p.device)
        if p is layer.U_sampled:
            state["sampled"] = layer.sampled.clone()
        return state

    def _step_spectral(
        self, group: dict[str, Any], layers: Sequence[SSTLinear], params: Sequence[Tensor]
    ) -> None:
        """All values and vectors of a group, by one call per device and dtype."""
        homes: dict[Tensor, tuple[Tensor, Tensor]] = {}
        for layer in layers:
            homes[layer.U_sampled] = (layer.Uh, layer.sampled)
            homes[layer.V_sampled] = (layer.Vh, layer.sampled)
        for bucket in _alike(params):
            states = [self.state[p] for p in bucket]
            vectors = [homes[p] for p in bucket if p in homes]
            sst_adamw_(
                bucket,
                [cast(Tensor, p.grad) for p in bucket],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [state["step"] for state in states],
                [state["skipped"] for state in states],
                [table for table, _ in vectors],
                [sampled for _, sampled in vectors],
                warmup=group["warmup_steps"],
                **{key: group[key] for key in STEP_KEYS},
            )

    def _step_plain(self, group: dict[str, Any], params: Sequence[Tensor]) -> None:
        """The step of torch itself, fused where it can be."""
        for bucket in _alike(params):
            p, states = bucket[0], [self.state[p] for p in bucket]
            adamw(
                bucket,
                [cast(Tensor, p.grad) for p in bucket],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                fused=p.is_floating_point() and p.device.type in ("cpu", "cuda"),
                capturable=group["capturable"] and p.device.type == "cuda",
                amsgrad=False,
                maximize=False,
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
            )

    def _turn(self, group: dict[str, Any], layers: Sequence[SSTLinear]) -> None:
        """End an iteration of a group."""
        first = sum(
            len(more) for more in itertools.takewhile(lambda one: one is not layers, self._layers)
        )
        for number, layer in enumerate(layers, first):
            if not any(p.requires_grad for p in layer.trained()):
                continue  # frozen since
            round_length = group["iterations_per_round"] or -(-len(layer.S) // layer.rank)
            if group["taken"] // group["iteration_steps"] % round_length == 0:
                decompose(layer, self.state)
            draw(layer, group, self.state, number)

    def _complete_group(
        self, saved: Mapping[str, Any], current: Mapping[str, Any]
    ) -> dict[str, Any]:
        kept = {
            key: value for key, value in current.items() if key not in ("params", "param_names")
        }
        group = kept | dict(saved)
        _check_group(self._name, group)
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
        if "sampled" in values and (layers := owners([p])):
            check_sampled(owner, values["sampled"], len(layers[0].S))
        return values


def _alike(params: Sequence[Tensor]) -> Iterable[list[Tensor]]:
    """Parameters of one device and dtype each, in their order."""
    buckets: dict[object, list[Tensor]] = {}
    for p in params:
        buckets.setdefault((p.device, p.dtype), []).append(p)
    return buckets.values()


def _check_group(op: str, group: Mapping[str, Any]) -> None:
    """Raise on a value out of range."""
    check_adam_numbers(
        op, group["lr"], group["betas"], group["eps"], group["weight_decay"], decay="pre"
    )
    check_number(op, "value_scale", group["value_scale"])
    check_number(op, "vector_scale", group["vector_scale"])
    check_number(op, "uniform", group["uniform"], 0.0, 1.0, closed=True)
    check_count(op, "iteration_steps", group["iteration_steps"])
    if group["iterations_per_round"] is not None:
        check_count(op, "iterations_per_round", group["iterations_per_round"])
    for key in ("warmup_steps", "seed", "taken"):
        check_count(op, key, group[key], low=0)
    if group["seed"] >= 2**64:
        raise ValueError(f"{op}: seed must be below 2^64, got {group['seed']}")
    for key in ("reset_values", "skip_nonfinite", "capturable"):
        check_flag(op, key, group[key])
