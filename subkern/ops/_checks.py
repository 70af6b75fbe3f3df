"""Argument checks shared by the ops. Messages read ``<op>: <argument> must <...>, got <...>``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def check_list(op: str, name: str, tensors: object, count: int) -> None:
    """A list or tuple of ``count`` plain strided tensors."""
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"{op}: {name} must be a list of tensors, got {type(tensors).__name__}")
    if len(tensors) != count:
        raise ValueError(f"{op}: {name} must hold {count} tensors, got {len(tensors)}")
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"{op}: {name}[{i}] must be a tensor, got {type(t).__name__}")
        if t.layout != torch.strided:
            raise ValueError(f"{op}: {name}[{i}] must be a dense strided tensor, got {t.layout}")
        if hasattr(t, "device_mesh"):
            raise TypeError(
                f"{op}: {name}[{i}] must be a local tensor, got a DTensor; pass .to_local()"
            )


def check_like(
    op: str,
    name: str,
    tensors: Sequence[Tensor],
    *,
    shape: Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> None:
    """Every tensor has the given shape, dtype and device; ``None`` checks floating point alone."""
    for i, t in enumerate(tensors):
        if dtype is None and not t.is_floating_point():
            raise TypeError(f"{op}: {name}[{i}] must be floating point, got {t.dtype}")
        if dtype is not None and t.dtype != dtype:
            raise TypeError(f"{op}: {name}[{i}] must be {dtype}, got {t.dtype}")
        if shape is not None and tuple(t.shape) != tuple(shape):
            raise ValueError(
                f"{op}: {name}[{i}] must have shape {tuple(shape)}, got {tuple(t.shape)}"
            )
        if device is not None and t.device != device:
            raise ValueError(f"{op}: {name}[{i}] must be on {device}, got {t.device}")


def check_number(
    op: str, name: str, value: float, low: float = 0.0, high: float = math.inf, *, closed=False
) -> float:
    """A finite number in [low, high), or [low, high] when ``closed``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{op}: {name} must be a number, got {type(value).__name__}")
    if not math.isfinite(value) or value < low or value > high or (value == high and not closed):
        bracket = "]" if closed else ")"
        raise ValueError(f"{op}: {name} must be in [{low}, {high}{bracket}, got {value}")
    return float(value)


def check_choice(op: str, name: str, value: str, choices: Sequence[str]) -> str:
    """One of the listed strings."""
    if value not in choices:
        raise ValueError(f"{op}: {name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def _extent(t: Tensor) -> tuple[int, int]:
    """First and one-past-last byte that ``t`` can touch."""
    reach = sum((size - 1) * stride for size, stride in zip(t.shape, t.stride(), strict=True))
    start = t.data_ptr()
    return start, start + (reach + 1) * t.element_size()


def _overlaps_itself(t: Tensor) -> bool:
    strides = sorted((s, n) for n, s in zip(t.shape, t.stride(), strict=True) if n > 1)
    reach = 0
    for stride, size in strides:
        if stride <= reach:
            return True
        reach += stride * (size - 1)
    return False


def check_memory(op: str, call: Mapping[str, object], written: Sequence[str]) -> None:
    """Tensors that are written must not overlap themselves, each other, or anything read."""
    spans: list[tuple[int, int, bool, str]] = []
    for name, value in call.items():
        tensors = [value] if isinstance(value, Tensor) else value
        if not isinstance(tensors, (list, tuple)):
            continue
        writes = name in written
        for i, t in enumerate(tensors):
            if t.numel() == 0:
                continue
            if writes and t.dim() and not t.is_contiguous() and _overlaps_itself(t):
                raise ValueError(
                    f"{op}: {name}[{i}] must not overlap itself, got strides {t.stride()}"
                )
            spans.append((*_extent(t), writes, f"{name}[{i}]"))
    spans.sort()
    end, writes, label = 0, False, ""
    write_end, write_label = 0, ""
    for start, stop, is_written, name in spans:
        if start < write_end or (is_written and start < end):
            other = write_label if start < write_end else label
            raise ValueError(f"{op}: {name} must not share memory with {other}, got an overlap")
        if stop > end:
            end, label = stop, name
        if is_written and stop > write_end:
            write_end, write_label = stop, name
