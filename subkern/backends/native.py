"""Loads the torch-free native module on first use and remembers why it could not."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

FLOAT32, BFLOAT16 = 0, 1  # dtype codes of the bindings


@functools.cache
def _attempt() -> tuple[ModuleType | None, str]:
    try:
        module = importlib.import_module("subkern._C")
        module.isa_info()  # refuses a SUBKERN_CPU_ISA that this machine or build lacks
    except ImportError as error:
        return None, f"needs the native module subkern._C, which does not load ({error})"
    except RuntimeError as error:
        return None, f"cannot run here ({error})"
    return module, ""


def refusal() -> str | None:
    """None when the native module works, else the reason in words."""
    module, reason = _attempt()
    return None if module is not None else reason


def module() -> ModuleType:
    """The native module; call only after :func:`refusal` returned None."""
    loaded, reason = _attempt()
    if loaded is None:
        raise RuntimeError(f"subkern._C {reason}")
    return loaded
