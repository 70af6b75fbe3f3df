"""The tables tests/triton/kernels.py and tests/cuda/kernels.py, each under a name of its own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).resolve().parents[2]


def load(folder: str) -> ModuleType:
    """The module ``tests/<folder>/kernels.py``."""
    name = f"sktest_{folder}_kernels"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TESTS / folder / "kernels.py")
        assert spec is not None and spec.loader is not None  # noqa: PT018 (a file that exists)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    return sys.modules[name]
