"""NumPy and CuPy arrays in, arrays of the same kind out: what public functions are decorated with.

Arrays become tensors by DLPack, without a copy, and results become arrays the same way: they share
memory with the tensors the function returned. What torch cannot see without a copy is refused with
the call that makes one: another byte order (TypeError) and negative strides (ValueError). Read-only
arrays are read in place, since the functions write nothing but what
WRITTEN names, which must not be read-only.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

KINDS = {"numpy": "NumPy", "cupy": "CuPy"}
WRITTEN = ("out", "workspace")  # arguments of these names are written
_PLAIN = (Tensor, str, bool, int, float, torch.dtype, type(None))

Function = TypeVar("Function", bound=Callable[..., Any])


def _kind(value: object) -> str | None:
    """The module of an array, "torch" for a tensor, or None for anything else."""
    if isinstance(value, Tensor):
        return "torch"
    cls = type(value)
    root = cls.__module__.partition(".")[0]
    return (
        root if root in KINDS and hasattr(cls, "__dlpack__") and cls.__name__ != "dtype" else None
    )


def _items(value: object) -> tuple[object, ...]:
    """A list's or tuple's items, or the value alone."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


class _Writable:
    """Memory of a read-only array under a description that does not say so."""

    def __init__(self, array: Any) -> None:
        address, _ = array.__array_interface__["data"]
        self.array = array  # keeps the memory
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def _to_tensor(op: str, name: str, array: Any, kind: str) -> Tensor:
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{op}: {name} must hold numbers that torch knows, got {array.dtype}")
    if not array.dtype.isnative:
        raise TypeError(
            f"{op}: {name} must have the machine's byte order, got {array.dtype.str}; "
            f"pass .astype({array.dtype.newbyteorder('=').str!r})"
        )
    if any(step < 0 for step in array.strides) and array.size:
        raise ValueError(
            f"{op}: {name} must have no negative strides, got {array.strides}; "
            f"pass {kind}.ascontiguousarray(...)"
        )
    if any(step % array.itemsize for step in array.strides) and array.size:
        raise ValueError(
            f"{op}: {name} must have strides of whole elements, got {array.strides} bytes; "
            f"pass {kind}.ascontiguousarray(...)"
        )
    if kind == "numpy" and not array.flags.writeable:
        if name in WRITTEN:
            raise ValueError(f"{op}: {name} must be writeable, got a read-only array")
        array = importlib.import_module(kind).asarray(_Writable(array))
    try:
        return torch.from_dlpack(array)
    except (BufferError, RuntimeError, TypeError) as error:
        raise TypeError(f"{op}: {name} must be an array that torch can see, {error}") from error


def _to_array(op: str, value: Any, kind: str) -> Any:
    """A result, its fields or items as arrays; what is no tensor stays."""
    if isinstance(value, Tensor):
        if value.dtype == torch.bfloat16:
            raise TypeError(
                f"{op}: results must not be bfloat16, which {KINDS[kind]} does not have"
            )
        module = importlib.import_module(kind)
        return module.from_dlpack(value.detach())
    if isinstance(value, tuple):
        items = [_to_array(op, item, kind) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, list):
        return [_to_array(op, item, kind) for item in value]
    return value


def _convert(op: str, name: str, value: Any, kind: str | None = None) -> Any:
    """An argument with tensors in the place of arrays; ``kind``: what callables are handed."""
    if isinstance(value, (list, tuple)):
        return type(value)(_convert(op, f"{name}[{i}]", item) for i, item in enumerate(value))
    own = _kind(value)
    if own is not None:
        return value if own == "torch" else _to_tensor(op, name, value, own)
    takes_tensors = isinstance(value, (type, torch.nn.Module))
    takes_tensors = takes_tensors or getattr(value, "takes_tensors", False)
    if kind is not None and callable(value) and not takes_tensors:
        return _hand_arrays(op, name, value, kind)
    return value


class GivesArrays:
    """A result whose methods answer with arrays of the kind that it was made from."""

    _kind: str | None = None

    def _give(self, value: Any) -> Any:
        return value if self._kind is None else _to_array(type(self).__name__, value, self._kind)


def _hand_arrays(op: str, name: str, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """A callable that is handed arrays, NumPy's read-only, and may answer with them."""

    def handed(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        array = _to_array(op, value, kind)
        if kind == "numpy":
            array.flags.writeable = False
        return array

    @functools.wraps(function)
    def call(*values: Any) -> Any:
        return _convert(op, f"the result of {name}", function(*map(handed, values)))

    return call


def accepts_arrays(
    function: Function, op: str | None = None, *, hands_arrays: bool = True
) -> Function:
    """Decorator: the function's tensors may be NumPy or CuPy arrays, and so may lists of them.

    Callables among the arguments are then handed such arrays, but for operators and modules, which
    take tensors.

    Args:
        function: what to decorate.
        op: its name in messages; None: the function's.
        hands_arrays: whether callables get arrays; networks, which are written for tensors, do not.

    Raises:
        TypeError: arguments are of more than one kind, or an array is of a dtype or byte order that
            torch does not have.
        ValueError: an array has strides that torch does not have.
    """
    op = op or function.__name__
    names = function.__code__.co_varnames[: function.__code__.co_argcount]

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        kinds: list[str] = []
        for value in (*args, *kwargs.values()):
            for item in _items(value):
                if not isinstance(item, _PLAIN) or isinstance(item, Tensor):
                    kind = _kind(item)
                    if kind is not None and kind not in kinds:
                        kinds.append(kind)
        if kinds == ["torch"] or not kinds:
            return function(*args, **kwargs)
        if len(kinds) > 1:
            words = " and ".join(sorted(KINDS.get(kind, kind) for kind in kinds))
            raise TypeError(f"{op}: arrays must all be of one kind, got {words}")
        called = (*names, *(f"argument {i + 1}" for i in range(len(names), len(args))))
        kind = kinds[0]
        hand = kind if hands_arrays else None
        converted = [_convert(op, name, x, hand) for name, x in zip(called, args, strict=False)]
        keywords = {name: _convert(op, name, value, hand) for name, value in kwargs.items()}
        result = function(*converted, **keywords)
        if isinstance(result, GivesArrays):
            result._kind = kind
        return _to_array(op, result, kind)

    return wrapper  # type: ignore[return-value]
