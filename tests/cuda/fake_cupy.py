"""A module in the place of CuPy: it records what it is asked to compile and to launch."""

from __future__ import annotations

import contextlib
import ctypes
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


class _Call(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint) for name in ("x", "y", "threads")),
        ("shared", ctypes.c_int64),
        ("count", ctypes.c_int),
        ("sizes", ctypes.POINTER(ctypes.c_int64)),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
    )


@dataclass
class Launched:
    """A launch, as CuPy's kernel objects take it."""

    name: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int
    sizes: list[int]
    device: int
    stream: int


@dataclass
class Recorded:
    """What was compiled, as (code, options, name expressions), and launched."""

    compiled: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    launched: list[Launched] = field(default_factory=list)
    current: list[tuple[str, Any]] = field(default_factory=list)


class _Kernel:
    def __init__(self, name: str, recorded: Recorded, library: ctypes.CDLL) -> None:
        self.name, self.recorded, self.library = name, recorded, library
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(self, grid, block, args, *, shared_mem=0):
        assert shared_mem <= self.max_dynamic_shared_size_bytes, "more than a kernel may have"
        assert isinstance(grid, tuple)
        assert isinstance(block, tuple)
        for x in args:  # what CuPy passes by value
            assert type(x) is np.ndarray
            assert x.size == 1
        where = dict(self.recorded.current)
        sizes = [x.itemsize for x in args]
        launched = Launched(self.name, grid, block, shared_mem, sizes, **where)
        self.recorded.launched.append(launched)
        pointers = (ctypes.c_void_p * len(args))(*(x.ctypes.data for x in args))
        lengths = (ctypes.c_int64 * len(args))(*sizes)
        x, y = (*grid, 1, 1)[:2]
        call = _Call(x, y, block[0], shared_mem, len(args), lengths, pointers)
        if (error := self.library.raw_launch(self.name.encode(), ctypes.byref(call))) is not None:
            raise RuntimeError(f"{self.name}: {error.decode()}")


def make(library: ctypes.CDLL) -> tuple[ModuleType, Recorded]:
    """The module, whose kernels are those of ``raw_driver.cu``, and what it will record."""
    library.raw_launch.restype = ctypes.c_char_p
    recorded = Recorded()

    class RawModule:
        def __init__(self, *, code, options=(), name_expressions=None):
            self.names = tuple(name_expressions)
            recorded.compiled.append((code, options, self.names))

        def get_function(self, name):
            assert name in self.names
            return _Kernel(name, recorded, library)

    @contextlib.contextmanager
    def using(kind, value):
        recorded.current.append((kind, value))
        yield
        recorded.current.pop()

    fake = ModuleType("cupy")
    fake.RawModule = RawModule
    fake.cuda = SimpleNamespace(
        Device=lambda device: using("device", device),
        ExternalStream=lambda pointer, device_id: using("stream", pointer),
    )
    return fake, recorded
