"""Importing a peer that a test compares with."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any

from sktest.required import missing
from subkern.bench.stand_ins import stand_ins


@contextlib.contextmanager
def peer(name: str) -> Iterator[Any]:
    """The package, imported; the test is skipped where it is not installed, and fails in CI."""
    if importlib.util.find_spec(name) is None:
        missing(f"the package {name} is not installed; make venv installs it")
    with stand_ins():
        module = importlib.import_module(name)
    try:
        yield module
    finally:
        for key in list(sys.modules):
            if key.partition(".")[0] == name:
                del sys.modules[key]
