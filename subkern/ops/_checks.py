"""Argument checks shared by the ops. Messages read ``<op>: <argument> must <...>, got <...>``."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from subkern.backends.watched import PLAIN  # the common path is short: it runs on every step


def check_tensor(op: str, name: str, value: object) -> None:
    """A plain strided tensor."""
    if type(value) in PLAIN and value.layout is torch.strided:  # type: ignore[attr-defined]
        return
    if not isinstance(value, Tensor):
        raise TypeError(f"{op}: {name} must be a tensor, got {type(value).__name__}")
    if value.layout != torch.strided:
        raise ValueError(f"{op}: {name} must be a dense strided tensor, got {value.layout}")
    if hasattr(value, "device_mesh"):
        raise TypeError(f"{op}: {name} must be a local tensor, got a DTensor; pass .to_local()")


def check_list(op: str, name: str, tensors: object, count: int) -> None:
    """A list or tuple of ``count`` plain strided tensors."""
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"{op}: {name} must be a list of tensors, got {type(tensors).__name__}")
    if len(tensors) != count:
        raise ValueError(f"{op}: {name} must hold {count} tensors, got {len(tensors)}")
    for i, t in enumerate(tensors):
        if not (type(t) in PLAIN and t.layout is torch.strided):
            check_tensor(op, f"{name}[{i}]", t)


def check_floating(op: str, name: str, tensors: Sequence[Tensor]) -> None:
    """Every tensor is real floating point."""
    for i, t in enumerate(tensors):
        if not t.is_floating_point():
            raise TypeError(f"{op}: {name}[{i}] must be floating point, got {t.dtype}")


def check_like(
    op: str,
    name: str,
    tensors: Sequence[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
    first: int = 0,
) -> None:
    """Every tensor has the given shape, dtype and device; ``first`` is the index of the first."""
    for i, t in enumerate(tensors, first):
        if t.dtype != dtype:
            raise TypeError(f"{op}: {name}[{i}] must be {dtype}, got {t.dtype}")
        if t.shape != shape:
            raise ValueError(
                f"{op}: {name}[{i}] must have shape {tuple(shape)}, got {tuple(t.shape)}"
            )
        if t.device != device:
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
    if not isinstance(value, str):
        raise TypeError(f"{op}: {name} must be a string, got {value!r}")
    if value not in choices:
        raise ValueError(f"{op}: {name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def check_flag(op: str, name: str, value: bool) -> bool:
    """True or False, nothing that merely behaves like them."""
    if not isinstance(value, bool):
        raise TypeError(f"{op}: {name} must be True or False, got {value!r}")
    return value


def check_scalar(op: str, name: str, value: Tensor) -> None:
    """A tensor of one floating-point element."""
    if not value.is_floating_point():
        raise TypeError(f"{op}: {name} must be floating point, got {value.dtype}")
    if value.numel() != 1:
        raise ValueError(f"{op}: {name} must have one element, got shape {tuple(value.shape)}")


def check_rate_device(op: str, lr: object, device: torch.device) -> None:
    """A learning rate is read by the host from the CPU, or by the kernels beside the parameters."""
    if isinstance(lr, Tensor) and lr.device.type != "cpu" and lr.device != device:
        places = "the CPU" if device.type == "cpu" else f"the CPU or {device}"
        raise ValueError(f"{op}: lr must be on {places}, got {lr.device}")


def check_backend(op: str, backend: str | None) -> str:
    """The backend as the torch ops take it: "" picks."""
    if backend is None:
        return ""
    if not isinstance(backend, str):
        raise TypeError(f"{op}: backend must be a string or None, got {backend!r}")
    if not backend:
        raise ValueError(f"{op}: backend must be a name or None, got {backend!r}")
    return backend


_start = operator.itemgetter(0)  # of a span


def _reach(t: Tensor) -> int:
    """Bytes from the first element of ``t`` to the end of its last, of a tensor with gaps."""
    steps = zip(t.shape, t.stride(), strict=True)
    return (sum((size - 1) * stride for size, stride in steps) + 1) * t.element_size()


def overlaps_itself(t: Tensor) -> bool:
    """Whether two elements share memory."""
    reach = 0
    for stride, size in sorted(zip(t.stride(), t.shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += stride * (size - 1)
    return False


def _interleaved(a: Tensor, b: Tensor) -> bool:
    """Rows of two matrices that alternate in memory without touching, as column slices do."""
    if a.dim() != 2 or b.dim() != 2 or a.dtype != b.dtype or a.stride() != b.stride():
        return False
    if a.stride(1) != 1:
        a, b = a.T, b.T
    pitch = a.stride(0)
    if a.stride(1) != 1 or pitch < max(a.shape[1], b.shape[1]):
        return False
    shift = (b.data_ptr() - a.data_ptr()) // a.element_size() % pitch
    return a.shape[1] <= shift <= pitch - b.shape[1]


def check_memory(op: str, call: Mapping[str, object], written: Sequence[str]) -> None:
    """Tensors that are written must not overlap themselves, each other, or anything read."""
    spans: list[tuple[int, int, bool, str, Tensor]] = []
    for name, value in call.items():
        if isinstance(value, Tensor):
            value = [value]
        elif not isinstance(value, (list, tuple)):
            continue
        writes = name in written
        for t in value:
            if t.is_contiguous():
                reach = t.nbytes
            elif writes and overlaps_itself(t):
                raise ValueError(f"{op}: {name} must not overlap itself, got strides {t.stride()}")
            else:
                reach = _reach(t)
            if reach:
                start = t.data_ptr()
                spans.append((start, start + reach, writes, name, t))
    spans.sort(key=_start)
    end = write_end = 0
    for i, (start, stop, writes, _, _) in enumerate(spans):
        if start < write_end or (writes and start < end):
            _check_span(op, spans, i)
        if stop > end:
            end = stop
        if writes and stop > write_end:
            write_end = stop


def _check_span(op: str, spans: list[tuple[int, int, bool, str, Tensor]], i: int) -> None:
    """Raise if span ``i`` really shares memory with an earlier one and either is written."""
    start, _, writes, name, t = spans[i]
    for _, stop, other_writes, other_name, other in spans[:i]:
        if start < stop and (writes or other_writes) and not _interleaved(other, t):
            raise ValueError(
                f"{op}: {name} must not share memory with {other_name}, got an overlap"
            )
