"""Calls of what users wrote, and of operators: the answer is what a solver can go on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from subkern.ops._checks import check_tensor


def name_of(function: Any) -> str:
    """What to call a callable in a message: "Dense.normal", "<lambda>"."""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", None)
    if owner is not None and name is not None:
        return f"{type(owner).__name__}.{name}"
    return name or type(function).__name__


def _version(v: Tensor) -> int:
    """A number that grows when a tensor is written; 0 where torch does not count."""
    return 0 if v.is_inference() or torch.compiler.is_compiling() else v._version


def _is_plain(found: object, like: Tensor) -> bool:
    """Whether an answer needs neither a message nor a change."""
    return (
        type(found) is Tensor
        and found.dtype == like.dtype
        and found.shape == like.shape
        and found.layout is torch.strided
        and found.device == like.device
        and not (found.requires_grad or found.is_conj() or found.is_neg())
        and found.is_contiguous()
    )


def called(
    function: Callable[[Tensor], Tensor],
    v: Tensor,
    like: Tensor | None = None,
    name: str = "its argument",
) -> Tensor:
    """function(v), contiguous: an answer in the shape, dtype and device of ``like``, or an error.

    Args:
        function: what a caller wrote, or a method of an operator.
        v: its argument, which it must not write.
        like: what the answer must be like; None: the argument.
        name: of ``like``, for messages.
    """
    like = v if like is None else like
    before = _version(v)
    found = function(v)
    if _is_plain(found, like) and _version(v) == before:
        return found
    who = name_of(function)
    if not isinstance(found, Tensor):
        raise TypeError(f"{who}: result must be a tensor, got {type(found).__name__}")
    if found.dtype != like.dtype:
        raise TypeError(f"{who}: result must be {like.dtype} like {name}, got {found.dtype}")
    if found.shape != like.shape or found.layout != torch.strided:
        raise ValueError(
            f"{who}: result must be strided and have shape {tuple(like.shape)} like {name}, "
            f"got {found.layout} of shape {tuple(found.shape)}"
        )
    if found.device != like.device:
        raise ValueError(f"{who}: result must be on {like.device} like {name}, got {found.device}")
    if _version(v) != before:
        raise ValueError(f"{who}: its argument must not be written, got a call that did")
    return found.resolve_conj().resolve_neg().contiguous()


def check_batch(
    op: str,
    name: str,
    value: object,
    shape: Sequence[int],
    samples: int,
    dtypes: Sequence[torch.dtype],
    device: torch.device,
) -> None:
    """Images or data (samples, *shape) of an operator.

    Args:
        op: the operator.
        name: of the argument.
        value: the tensor.
        shape: of one sample.
        samples: how many the operator is made for; 1 is for any number.
        dtypes: those that it takes.
        device: where it is.
    """
    check_tensor(op, name, value)
    assert isinstance(value, Tensor)
    if value.dtype not in dtypes:
        known = " or ".join(str(dtype) for dtype in dtypes)
        raise TypeError(f"{op}: {name} must be {known}, got {value.dtype}")
    if value.device != device:
        raise ValueError(f"{op}: {name} must be on {device}, got {value.device}")
    if value.shape[1:] != tuple(shape) or samples not in (1, len(value)):
        wanted = ", ".join(str(n) for n in (samples if samples > 1 else "samples", *shape))
        raise ValueError(f"{op}: {name} must have shape ({wanted}), got {tuple(value.shape)}")


def with_complex(dtype: torch.dtype) -> tuple[torch.dtype, ...]:
    """Dtypes of vectors that a map of numbers of this one takes: complex ones by a real map too."""
    return (dtype,) if dtype.is_complex else (dtype, dtype.to_complex())
