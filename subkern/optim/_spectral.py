"""What Sparse Spectral Training does to a layer between steps: draw pairs, decompose again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from subkern.nn.sst_linear import SSTLinear
from subkern.ops.sample_without_replacement import sample_without_replacement
from subkern.ops.svd_factored import svd_factored

MOMENTS = ("exp_avg", "exp_avg_sq")
State = Mapping[Tensor, dict[str, Tensor]]


def parameters_of(layer: SSTLinear) -> tuple[Tensor, Tensor, Tensor]:
    """What Sparse Spectral Training steps in a layer."""
    return layer.S, layer.U_sampled, layer.V_sampled


def divide(
    op: str, layers: Sequence[SSTLinear], params: Sequence[Tensor]
) -> tuple[list[SSTLinear], list[SSTLinear]]:
    """(Layers whose parameters are all among ``params``, those with none of theirs among them)."""
    among = {id(p) for p in params}
    mine: list[SSTLinear] = []
    others: list[SSTLinear] = []
    for i, layer in enumerate(layers):
        if not isinstance(layer, SSTLinear):
            raise TypeError(
                f"{op}: layers[{i}] must be a subkern.nn.SSTLinear, got {type(layer).__name__}"
            )
        found = [id(p) in among for p in parameters_of(layer)]
        if any(found) and not all(found):
            raise ValueError(
                f"{op}: layers[{i}] must have S, U_sampled and V_sampled in one group, "
                f"got {sum(found)} of them"
            )
        (mine if all(found) else others).append(layer)
    return mine, others


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
    order = torch.argsort(layer.S, descending=True, stable=True)
    *made, info = svd_factored(*(t.detach() for t in factors), info=True)
    for factor, new in zip(factors, made, strict=True):
        factor.copy_(torch.where(info == 0, new.to(factor.dtype), factor))
    if state := states[layer.S]:
        for name in MOMENTS:
            state[name].copy_(torch.where(info == 0, state[name][order], state[name]))
