"""Registration of ops: torch.library.define + impl + register_fake, one schema each.

The backend is picked inside the implementation, where tensors are real: a compiled graph holds the
torch op alone and still honours ``subkern.backend`` at run time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from subkern.backends import registry
from subkern.backends.watched import DEVICES, is_real, is_watched
from subkern.ops._checks import check_memory


def define_op(name: str, schema: str, fake: Callable[..., object]) -> Callable[..., Any]:
    """Define the functional op ``subkern::<name>``; returns its call.

    The op returns new tensors that share no memory with its arguments and carry no gradient. The
    first argument is the tensor whose device decides; the last is ``str backend``; the empty
    string picks automatically. The call takes the overload's arguments, tensors by position, and
    goes through torch's dispatcher only where somebody wants to see it, a tensor has no memory
    (meta, fake) or autograd would watch: boxing arguments takes longer than a small kernel.

    Args:
        name: the op's stem.
        schema: arguments and results, ``(Tensor A, *, str backend) -> (Tensor, Tensor)``.
        fake: takes the same arguments and returns empty tensors of the right shapes, dtypes and
            strides (contiguous).
    """
    qualified = f"subkern::{name}"
    torch.library.define(qualified, schema)
    names = [a.name for a in torch._C.parse_schema(qualified + schema).arguments]

    def implementation(*tensors: object, **options: object) -> Any:
        call: dict[str, Any] = dict(zip(names, tensors, strict=False)) | options
        explicit = call.pop("backend") or None
        return registry.run(name, call[names[0]].device.type, call, explicit)

    torch.library.impl(qualified, DEVICES)(implementation)
    torch.library.register_fake(qualified)(fake)
    overload = getattr(torch.ops.subkern, name).default

    def call(*tensors: Any, **options: object) -> Any:
        direct = not is_watched() and all(
            is_real(t) and not t.requires_grad for each in tensors for t in _items(each)
        )
        return (implementation if direct else overload)(*tensors, **options)

    return call


def define_inplace_op(name: str, schema: str, written: Sequence[str]) -> Callable[..., None]:
    """Define ``subkern::<name>_`` that writes what ``written`` names; returns its call.

    Arguments are tensors or lists of them; the first decides the device. The call takes the
    overload's arguments. It goes through torch's dispatcher only where a compiler or a dispatch
    mode wants to see it, or a tensor has no memory (meta, fake): that costs microseconds for each
    tensor of a list.
    The last argument of every schema is ``str backend``; the empty string picks automatically.
    """
    qualified = f"subkern::{name}_"
    torch.library.define(qualified, schema)
    names = [a.name for a in torch._C.parse_schema(qualified + schema).arguments]

    def implementation(*tensors: object, **options: object) -> None:
        call = dict(zip(names, tensors, strict=False)) | options
        explicit = call.pop("backend") or None
        first = _items(call[names[0]])
        if not first:
            return
        check_memory(name, call, written)
        registry.run(name, first[0].device.type, call, explicit)  # type: ignore[arg-type]
        for argument in written:
            # Kernels write through raw pointers, which autograd's version counters do not see.
            torch.autograd.graph.increment_version(call[argument])  # type: ignore[arg-type]

    def fake(*tensors: object, **options: object) -> None:
        return None

    torch.library.impl(qualified, DEVICES)(implementation)
    torch.library.register_fake(qualified)(fake)
    overload = getattr(torch.ops.subkern, f"{name}_").default

    def call(*tensors: Any, **options: object) -> None:
        direct = not is_watched() and all(is_real(t) for t in _items(tensors[0]))
        (implementation if direct else overload)(*tensors, **options)

    return call


def _items(value: Any) -> Sequence[Tensor]:
    """The tensors of an argument: one, a list of them, or none."""
    if isinstance(value, Tensor):
        return (value,)
    return value if isinstance(value, (list, tuple)) else ()


def scalar_tensor(value: float | Tensor) -> Tensor:
    """A number or one-element tensor as the 0-dim tensor the schema wants; a number on the CPU."""
    if isinstance(value, Tensor):
        return value.reshape(())
    if is_watched():
        return torch.tensor(value, dtype=torch.float64, device="cpu")
    return _number(float(value))


@functools.lru_cache(maxsize=16)
def _number(value: float) -> Tensor:
    """A tensor that nobody writes to: making one takes longer than a small step."""
    return torch.tensor(value, dtype=torch.float64, device="cpu")
