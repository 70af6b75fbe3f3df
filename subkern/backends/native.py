"""Loads the torch-free native modules on first use and remembers why one could not."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator
from types import ModuleType

FLOAT32, BFLOAT16 = 0, 1  # dtype codes of the bindings


def _check_cpu(module: ModuleType) -> None:
    module.isa_info()  # refuses a SUBKERN_CPU_ISA that this machine or build lacks


def _check_cuda(module: ModuleType) -> None:
    if module.device_count() == 0:
        raise RuntimeError("found no CUDA device")


_CHECKS: dict[str, Callable[[ModuleType], None]] = {"_C": _check_cpu, "_CUDA": _check_cuda}
_replaced: dict[str, ModuleType] = {}
Maker = Callable[[], ModuleType | str]
_stand_ins: dict[str, Maker] = {}


@functools.cache
def _attempt(name: str) -> tuple[ModuleType | None, str]:
    try:
        module = _replaced.get(name) or importlib.import_module(f"subkern.{name}")
        _CHECKS[name](module)
    except ImportError as error:
        reason = f"needs the native module subkern.{name}, which does not load ({error})"
        if name not in _stand_ins:
            return None, reason
        substitute = _stand_ins[name]()
        if isinstance(substitute, str):
            return None, f"{reason}; CuPy cannot stand in: {substitute}"
        return substitute, ""
    except RuntimeError as error:
        return None, f"cannot run here ({error})"
    return module, ""


def stands_in(name: str) -> Callable[[Maker], Maker]:
    """Decorator: the function makes a module for where the native one is not, or says why not."""

    def keep(make: Maker) -> Maker:
        _stand_ins[name] = make
        return make

    return keep


def refusal(name: str = "_C") -> str | None:
    """None when the native module ``_C`` or ``_CUDA`` works, else the reason in words."""
    module, reason = _attempt(name)
    return None if module is not None else reason


def module(name: str = "_C") -> ModuleType:
    """The native module; call only after :func:`refusal` returned None."""
    loaded, reason = _attempt(name)
    if loaded is None:
        raise RuntimeError(f"subkern.{name} {reason}")
    return loaded


@contextlib.contextmanager
def replace(name: str, substitute: ModuleType) -> Iterator[None]:
    """Put a module with the same functions in the place of a native one, as tests do."""
    before = _replaced.get(name)
    _replaced[name] = substitute
    _attempt.cache_clear()
    try:
        yield
    finally:
        _replaced.pop(name)
        if before is not None:
            _replaced[name] = before
        _attempt.cache_clear()
