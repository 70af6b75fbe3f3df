"""Importing a peer without the packages that only other parts of it need.

galore-torch and fira import bitsandbytes and transformers; deepinv imports torchvision, whose wheel
from the package index does not load beside the CPU build of torch; sigpy imports numba and pywt for
gridding and wavelets. Hollow modules stand in for those that are not installed while the peer is
imported, and leave with the import.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

UNUSED = (
    *("bitsandbytes", "transformers"),
    *("torchvision", "h5py", "natsort", "requests"),
    *("numba", "pywt", "scipy"),
)


class StandIn(ModuleType):
    """A module that has every name: a class if it has a capital, else one of its own kind."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {}) if name[0].isupper() else StandIn(f"{self.__name__}.{name}")

    def __call__(self, *args: Any, **options: Any) -> Any:
        """As a decorator, with options or without, leave the function as it is."""
        plain = len(args) == 1 and not options and callable(args[0])
        return args[0] if plain else lambda function: function


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what no finder before it found."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """A spec for the unused packages alone."""
        if fullname.partition(".")[0] not in UNUSED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: Any) -> ModuleType:
        """The module of a spec."""
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
    """Within it, the unused packages can be imported."""
    finder = Finder()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name, module in list(sys.modules.items()):
            if isinstance(module, StandIn):
                del sys.modules[name]
