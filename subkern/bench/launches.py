"""The CUDA C++ launches that a call would make, on a machine without a GPU.

    for launch in record(lambda: subkern.svd_small(A, backend="cuda")):
        print(launch.kernel, launch.blocks, launch.threads, launch.shared)

They are what ``subkern._C.plans`` hands to CuPy, and what the launchers of ``subkern._CUDA`` send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any
from unittest import mock

from subkern.backends import native
from subkern.backends.cuda import rawmodule

MOST_SHARED = 227 << 10  # that a block of compute capability 9.0 may ask for


@dataclass(frozen=True)
class Launch:
    """One launch.

    Attributes:
        kernel: name and template arguments, without the namespace.
        blocks: of the grid.
        threads: of a block.
        shared: bytes of dynamic shared memory of a block.
    """

    kernel: str
    blocks: int
    threads: int
    shared: int


class _Recorder(rawmodule.RawModule):
    """Plans launches for CPU tensors."""

    emulated = True

    def device_count(self) -> int:
        """A device that is not there."""
        return 1


def record(call: Callable[[], object]) -> list[Launch]:
    """The launches of ``call`` on CPU tensors, in order; nothing runs, results are undefined."""
    launches: list[Launch] = []

    def note(planned: Iterable[Any], device: int, stream: int) -> None:
        for _, expression, grid, threads, shared, _ in planned:
            kernel = expression.replace("subkern::", "")
            launches.append(Launch(kernel, prod(grid), threads, shared))

    with (
        mock.patch.object(rawmodule, "_launch", note),
        mock.patch.object(rawmodule, "_most_shared", return_value=MOST_SHARED),
        native.replace("_CUDA", _Recorder()),
    ):
        call()
    return launches
