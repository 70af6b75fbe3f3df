"""The probe kernels of this folder as functions on tensors."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest
import torch
from sktest import emulation

sys.path.insert(0, str(Path(__file__).parent))

PROBES = Path(__file__).parent / "probes"
SOURCES = [PROBES / f"{name}.cu" for name in ("blocks", "warps", "errors", "numbers")]


class Probes:
    """Calls ``probe_<name>``; a tensor goes as its address, an error comes as RuntimeError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.library = emulation.load(path)
        self.library.sk_emu_switches.restype = ctypes.c_uint64

    def __call__(self, name: str, *arguments: torch.Tensor | int) -> None:
        function = getattr(self.library, f"probe_{name}")
        function.restype = ctypes.c_char_p
        error = function(*(self._as_c(argument) for argument in arguments))
        if error is not None:
            raise RuntimeError(error.decode())

    @staticmethod
    def _as_c(argument: torch.Tensor | int) -> ctypes.c_void_p | ctypes.c_int:
        if isinstance(argument, torch.Tensor):
            assert argument.is_contiguous()
            return ctypes.c_void_p(argument.data_ptr())
        return ctypes.c_int(argument) if argument < 2**31 else ctypes.c_uint(argument)

    def seed(self, seed: int) -> None:
        emulation.set_seed(self.library, seed)

    def switches(self) -> int:
        """Changes of thread since the library was loaded."""
        return self.library.sk_emu_switches()


@pytest.fixture(scope="session")
def compiler() -> None:
    """Skips where nothing can be built."""
    if (reason := emulation.missing()) is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def _libraries(compiler: None) -> dict[str, Probes]:
    switches = {"native switch": (), "ucontext": ("SK_EMU_UCONTEXT",)}
    return {
        name: Probes(emulation.build(SOURCES, "probes", defines=defines))
        for name, defines in switches.items()
    }


@pytest.fixture(params=["native switch", "ucontext"])
def probes(request: pytest.FixtureRequest, _libraries: dict[str, Probes]) -> Probes:
    """The probes with each way to switch between stacks."""
    library = _libraries[request.param]
    library.seed(0)
    return library
