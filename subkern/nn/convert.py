"""Models from torch.nn.Linear to SSTLinear and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeGuard

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils.parametrize import is_parametrized

from subkern.nn.sst_linear import SSTLinear

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def sst_layers(model: nn.Module) -> list[tuple[str, SSTLinear]]:
    """Names and layers of all :class:`SSTLinear` in a model, in the order of its modules."""
    return [(name, layer) for name, layer in model.named_modules() if isinstance(layer, SSTLinear)]


def convert_to_sst(
    model: nn.Module,
    filter: Callable[[str, nn.Linear], bool] | Sequence[str] | None = None,
    rank: int | float = 0.0625,
    *,
    mode: str = "auto",
    enhanced: bool = True,
) -> nn.Module:
    """Replace linear layers of a model by :class:`SSTLinear`, in place.

    Args:
        model: any module; may itself be a torch.nn.Linear, which is returned converted.
        filter: of (name, layer) whether to convert it, or parts of names (any of them in the name
            converts), or None for every torch.nn.Linear.
        rank: vector pairs trained at a time; a fraction in (0, 1) is of each layer's smaller side,
            rounded up; an integer above that side means all.
        mode: see :class:`SSTLinear`.
        enhanced: see :class:`SSTLinear`.

    Subclasses of torch.nn.Linear with a forward pass of their own, and the projection of
    torch.nn.MultiheadAttention, whose weight that module multiplies by itself, stay. What is
    frozen stays frozen.

    Returns:
        The model.

    Raises:
        TypeError: an argument of the wrong kind, or a complex layer.
        ValueError: no layer matches, a rank out of range, a weight or bias that other parameters of
            the model share, or a layer with hooks or a parametrization; nothing has changed.

    Example:
        >>> import torch, subkern
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
        >>> subkern.nn.convert_to_sst(model, rank=0.25)[0].rank
        2
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"convert_to_sst: model must be a module, got {type(model).__name__}")
    _check_rank(rank)
    chosen = _chosen(model, filter)
    if not chosen:
        raise ValueError("convert_to_sst: filter must match a torch.nn.Linear, got none")
    for name, linear in chosen:
        _check_alone(model, name, linear)
    made = {}
    for name, linear in chosen:
        smaller = min(linear.weight.shape)
        pairs = min(smaller, rank if isinstance(rank, int) else -int(-rank * smaller // 1))
        made[name] = SSTLinear.from_linear(linear, pairs, mode=mode, enhanced=enhanced)
    return _replace(model, made)


def to_dense(model: nn.Module) -> nn.Module:
    """Replace every :class:`SSTLinear` of a model by its torch.nn.Linear, in place; returns it.

    A layer of several names stays one layer; what is frozen stays frozen.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"to_dense: model must be a module, got {type(model).__name__}")
    named = list(model.named_modules(remove_duplicate=False))
    dense = {layer: layer.to_dense() for _, layer in sst_layers(model)}
    return _replace(model, {name: dense[x] for name, x in named if isinstance(x, SSTLinear)})


def _check_rank(rank: object) -> None:
    if isinstance(rank, bool) or not isinstance(rank, (int, float)):
        raise TypeError(f"convert_to_sst: rank must be an integer or a fraction, got {rank!r}")
    if isinstance(rank, int) and rank < 1:
        raise ValueError(f"convert_to_sst: rank must be at least 1, got {rank}")
    if isinstance(rank, float) and not 0 < rank < 1:
        raise ValueError(f"convert_to_sst: rank must be in (0, 1) as a fraction, got {rank}")


def _chosen(model: nn.Module, filter: object) -> list[tuple[str, nn.Linear]]:
    linears = [(name, m) for name, m in model.named_modules() if _is_plain(m)]
    if filter is None:
        return linears
    if callable(filter):
        return [(name, m) for name, m in linears if filter(name, m)]
    if isinstance(filter, str) or not isinstance(filter, Sequence):
        raise TypeError(
            f"convert_to_sst: filter must be a function or parts of names, got {filter!r}"
        )
    return [(name, m) for name, m in linears if any(part in name for part in filter)]


def _is_plain(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether its forward pass is all that uses its weight."""
    return (
        isinstance(module, nn.Linear)
        and not isinstance(module, NonDynamicallyQuantizableLinear)  # of MultiheadAttention
        and type(module).forward is nn.Linear.forward
    )


def _check_alone(model: nn.Module, name: str, linear: nn.Linear) -> None:
    """What something else uses as well cannot become factors."""
    who = name or "the layer"
    own = {id(p): kind for kind, p in linear.named_parameters(recurse=False)}
    for other, parameter in model.named_parameters(remove_duplicate=False):
        kind = own.get(id(parameter))
        if kind is not None and other != f"{name}.{kind}".lstrip("."):
            raise ValueError(
                f"convert_to_sst: {who} must not share its {kind}, got one tied to {other}"
            )
    hooks = sum(len(found) for key, found in vars(linear).items() if key in HOOKS)
    if hooks:
        raise ValueError(
            f"convert_to_sst: {who} must have no hooks, got {hooks}; "
            "register them on the converted layer"
        )
    if is_parametrized(linear):
        raise ValueError(f"convert_to_sst: {who} must have no parametrization, got one")


def _replace(model: nn.Module, made: Mapping[str, nn.Module]) -> nn.Module:
    if "" in made:
        return made[""]
    for name, layer in made.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)
    return model
