"""The CUDA kernels on the CPU: the emulated module in the place of ``subkern._CUDA``.

    with emulated_cuda.install():
        adam_([w], ..., backend="cuda")  # CPU tensors; nothing but an explicit request picks it

``csrc/cuda/*.cu`` and ``csrc/bind/cuda_*.cpp`` are compiled by g++ against the emulator; the
module has the functions of ``subkern._CUDA`` and says ``emulated = True``. Built once per change of
a source (sktest.emulation caches it); the first build takes about a minute.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from sktest import emulation
from subkern.backends import native

ROOT = Path(__file__).resolve().parents[3]
NAME = "_CUDA_emulated"
KERNEL_SOURCES = sorted((ROOT / "csrc/cuda").glob("*.cu"))
BINDINGS = sorted((ROOT / "csrc/bind").glob("cuda_*.cpp"))
SEEDS = (0, 1, 2, 3, 4)  # orders in which the scheduler runs blocks and threads; 0 is the natural


def _bindings() -> Path:
    """A source that includes them all: pybind11's headers are most of what each costs alone."""
    contents = [part for path in BINDINGS for part in (str(path), path.read_bytes())]
    folder = emulation.cache_folder() / emulation.digest(*contents)  # another one when they change
    folder.mkdir(exist_ok=True)
    unfinished = folder / f".{os.getpid()}.cpp"
    unfinished.write_text("".join(f'#include "{path}"\n' for path in BINDINGS))
    return unfinished.replace(folder / "bindings.cpp")


@functools.cache
def library() -> Path:
    """The compiled module."""
    sources = [*KERNEL_SOURCES, _bindings()]
    return emulation.build(sources, NAME, defines=(f"SUBKERN_CUDA_MODULE={NAME}",))


@functools.cache
def module() -> ModuleType:
    """The emulated twin of ``subkern._CUDA``."""
    spec = importlib.util.spec_from_file_location(NAME, library())
    assert spec is not None and spec.loader is not None  # noqa: PT018
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def set_seed(seed: int) -> None:
    """Order in which the emulator runs blocks and threads from now on."""
    emulation.set_seed(emulation.load(library()), seed)


@contextlib.contextmanager
def install() -> Iterator[ModuleType]:
    """Backend "cuda" serves CPU tensors, by the emulated module, while the context lasts."""
    with native.replace("_CUDA", module()):
        try:
            yield module()
        finally:
            set_seed(0)
