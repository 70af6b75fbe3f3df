"""The kernels without Triton parts where ``subkern._CUDA`` was not built: CuPy compiles them.

A stand-in with those functions of ``subkern._CUDA``. Each asks ``subkern._C.plans`` for its
launches (kernel, blocks, threads, shared memory, arguments as bytes), which is what the launchers
of ``subkern._CUDA`` send to the device, and sends them there by ``cupy.RawModule``. A kernel is
compiled when it is first launched, which takes seconds; CuPy keeps the binary on disk.

CuPy compiles everything with ``-ftz=true``: float32 numbers below 2^-126 count as zero.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from subkern.backends import native

PACKAGE = Path(__file__).resolve().parents[2]
FOLDERS = (PACKAGE / "cuda_sources", PACKAGE.parent / "csrc" / "cuda")  # installed, in a checkout
PLANNED = (
    "cg_step_direction",
    "cg_step_residual",
    "combine",
    "eigh_small",
    "group_dot",
    "kth_largest",
    "orthonormalize",
    "orthonormalize_cholesky",
    "orthonormalize_repair",
    "packed_adamw",
    "sample_without_replacement",
    "scan",
    "sense_normal",
    "sense_solve",
    "sst_adamw",
    "svd_small",
    "update_mask",
)
ON_HOST = (  # they launch nothing
    "cg_step_workspace",
    "group_dot_workspace",
    "kth_largest_workspace",
    "sample_without_replacement_workspace",
    "scan_workspace",
    "sense_pack",
    "sense_pack_floats",
    "sense_workspace",
    "update_mask_workspace",
)
ALWAYS_SHARED = 48 << 10  # bytes that a launch needs not ask for


@functools.cache
def sources() -> Path | None:
    """The folder of the kernels' sources, or None where there is none."""
    return next((folder for folder in FOLDERS if (folder / "prims.cuh").is_file()), None)


def refusal() -> str | None:
    """Why CuPy cannot stand in, or None."""
    if torch.cuda.device_count() == 0:
        return "there is no CUDA device"
    if (reason := native.refusal("_C")) is not None:
        return reason
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    if sources() is None:
        return "the sources of the kernels are not installed"
    try:
        importlib.import_module("cupy")
    except ImportError as error:
        return f"CuPy does not load ({error})"
    return None


@functools.cache
def _digest(folder: Path) -> str:
    files = sorted([*folder.glob("*.cuh"), *folder.glob("*.h")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def code(header: str) -> str:
    """What RawModule compiles for a kernel of ``header``."""
    folder = sources()
    assert folder is not None, "refusal() comes first"
    # CuPy finds binaries again by this text, which must change with what it includes.
    return f'// {_digest(folder)}\n#include "{header}"\n'


def options() -> tuple[str, ...]:
    """Compiler options that RawModule is given."""
    return ("-std=c++17", f"-I{sources()}")


@functools.cache
def _kernel(header: str, expression: str) -> Any:
    cupy = importlib.import_module("cupy")
    module = cupy.RawModule(code=code(header), options=options(), name_expressions=(expression,))
    return module.get_function(expression)


@functools.cache
def _most_shared(device: int) -> int:
    # Only a device that is there has this attribute.
    return torch.cuda.get_device_properties(device).shared_memory_per_block_optin  # type: ignore[attr-defined]


def _launch(launches: list[Any], device: int, stream: int) -> None:
    cuda = importlib.import_module("cupy").cuda
    with cuda.Device(device), cuda.ExternalStream(stream, device):
        for header, expression, grid, threads, shared, arguments in launches:
            kernel = _kernel(header, expression)
            if shared > ALWAYS_SHARED:
                kernel.max_dynamic_shared_size_bytes = shared
            # CuPy passes an array of one element by value, whatever the element.
            values = tuple(np.frombuffer(x, dtype=f"V{len(x)}") for x in arguments)
            kernel(grid, (threads,), values, shared_mem=shared)


class RawModule(ModuleType):
    """What takes the place of ``subkern._CUDA``."""

    emulated = False
    lacks = ("adam", "lowrank_adam")  # ops
    state = "stood in for by CuPy, which compiles the kernels"

    def __init__(self) -> None:
        super().__init__("subkern._CUDA_raw", __doc__)
        self._plans = native.module("_C").plans
        for name in PLANNED:
            setattr(self, name, functools.partial(self._run, getattr(self._plans, name)))
        for name in ON_HOST:
            setattr(self, name, getattr(self._plans, name))

    def device_count(self) -> int:
        """CUDA devices that torch sees."""
        return torch.cuda.device_count()

    def call_counts(self) -> dict[str, int]:
        """How often each kernel was launched."""
        return self._plans.call_counts()

    def orthonormalize_workspace(self, *, device: int, **shape: int) -> int:
        """Bytes of scratch that orthonormalize needs."""
        return self._plans.orthonormalize_workspace(**shape, device=_most_shared(device))

    def svd_small_fits(self, *, device: int, **shape: int) -> bool:
        """Whether a kernel takes matrices of this shape."""
        return self._plans.svd_small_fits(**shape, device=_most_shared(device))

    def _run(self, plan: Any, *, device: int, stream: int, **call: Any) -> None:
        launches = self._plans.Launches()
        plan(**call, device=_most_shared(device), stream=launches.address)
        _launch(launches.take(), device, stream)


@native.stands_in("_CUDA")
def stand_in() -> ModuleType | str:
    """The module, or why there is none."""
    return refusal() or RawModule()
