"""What Sparse Spectral Training does to a layer between steps: draw pairs, decompose again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from subkern.nn.sst_linear import SSTLinear, owners
from subkern.ops.sample_without_replacement import sample_without_replacement
from subkern.ops.svd_factored import svd_factored

MOMENTS = ("exp_avg", "exp_avg_sq")
State = Mapping[Tensor, dict[str, Tensor]]


def layers_among(op: str, params: Sequence[Tensor]) -> list[SSTLinear]:
    """The layers whose parameters these are, in the order of the parameters.

    Raises:
        ValueError: some of a layer's are missing.
    """
    trained = [p for p in params if p.requires_grad]
    among, layers = {id(p) for p in trained}, owners(trained)
    for layer in layers:
        names = ("S", "U_sampled", "V_sampled")
        found = [n for n, p in zip(names, layer.trained(), strict=True) if id(p) in among]
        if len(found) < len(names):
            raise ValueError(
                f"{op}: params must hold S, U_sampled and V_sampled of a layer in one group, all "
                f"or none of them frozen, got {' and '.join(found)} of {layer}"
            )
    return layers


def check_layers(op: str, layers: object) -> list[SSTLinear]:
    """A list of layers."""
    if isinstance(layers, nn.Module) or not isinstance(layers, Iterable):
        raise TypeError(f"{op}: layers must be a list, got {type(layers).__name__}")
    found = list(layers)
    for i, layer in enumerate(found):
        if not isinstance(layer, SSTLinear):
            raise TypeError(
                f"{op}: layers[{i}] must be a subkern.nn.SSTLinear, got {type(layer).__name__}"
            )
    return found


def check_sampled(owner: str, sampled: object, k: int) -> None:
    """Saved numbers of the pairs in training: distinct, each one of the k."""
    if not isinstance(sampled, Tensor) or sampled.dtype != torch.int64:
        kind = sampled.dtype if isinstance(sampled, Tensor) else type(sampled).__name__
        raise TypeError(f"{owner}: sampled must be a torch.int64 tensor, got {kind}")
    numbers = sampled.flatten().tolist()
    if len(set(numbers)) < len(numbers) or not all(0 <= i < k for i in numbers):
        raise ValueError(f"{owner}: sampled must be distinct and in [0, {k}), got {numbers}")


@torch.no_grad()
def draw(layer: SSTLinear, group: Mapping[str, Any], states: State, number: int) -> None:
    """Draw the pairs of the next iteration; ``number`` is the layer's place in the optimizer.

    Seed and counter say which numbers are drawn: no generator, and no other layer, has a part.
    """
    S, k = layer.S.detach().float(), len(layer.S)
    total = S.sum()
    share = torch.where(total == 0, 1 / k, S / total)
    weights = group["uniform"] / k + (1 - group["uniform"]) * share
    offset = (group["taken"] // group["iteration_steps"] << 32) + number
    drawn = sample_without_replacement(weights, layer.rank, seed=group["seed"], offset=offset)
    # Values that are not finite draw nothing: the layer keeps its pairs.
    layer.set_sampled(torch.where(drawn < 0, layer.sampled, drawn))
    restarted = (layer.U_sampled, layer.V_sampled)
    for p in (*restarted, layer.S) if group["reset_values"] else restarted:
        if state := states[p]:
            torch._foreach_zero_([state[name] for name in (*MOMENTS, "step")])
    if state := states[layer.U_sampled]:
        state["sampled"].copy_(layer.sampled)


@torch.no_grad()
def decompose(layer: SSTLinear, states: State) -> None:
    """Replace the factors by the singular value decomposition of their product.

    The values come out in falling order; the moments of the largest stay with the largest.
    """
    factors = (layer.Uh, layer.S, layer.Vh)
    half = layer.S.dtype == torch.float16  # no decomposition takes it
    order = torch.argsort(layer.S, descending=True, stable=True)
    *made, info = svd_factored(*(t.float() if half else t.detach() for t in factors), info=True)
    for factor, new in zip(factors, made, strict=True):
        factor.copy_(torch.where(info == 0, new.to(factor.dtype), factor))
    if state := states[layer.S]:
        for name in MOMENTS:
            state[name].copy_(torch.where(info == 0, state[name][order], state[name]))
