"""Importing a peer without the packages that only other parts of it need.

deepinv imports torchvision, whose wheel from the package index does not load beside the CPU build
of torch; sigpy imports numba and pywt for gridding and wavelets. Empty modules stand in for those
that are not installed, while the peer is imported and used, and leave with it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

from sktest.required import missing

ABSENT = ("torchvision", "numba", "pywt", "scipy", "h5py", "natsort", "requests")


def decorator(*args: Any, **options: Any) -> Any:
    """Leaves what it decorates as it is, called with options or without."""
    plain = len(args) == 1 and not options and callable(args[0])
    return args[0] if plain else lambda function: function


class StandIn(types.ModuleType):
    """A module that has every name: a class if it has a capital, else a module, or a decorator."""

    __path__: list[str] = []  # noqa: RUF012  (what makes it a package)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self.__name__ == "numba":
            return decorator
        return type(name, (), {}) if name[0].isupper() else StandIn(f"{self.__name__}.{name}")


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what no finder before it found."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        if fullname.partition(".")[0] not in ABSENT:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: Any) -> types.ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


@contextlib.contextmanager
def peer(name: str) -> Iterator[Any]:
    """The package, imported; the test is skipped where it is not installed, and fails in CI."""
    if importlib.util.find_spec(name) is None:
        missing(f"the package {name} is not installed; make venv installs it")
    finder = Finder()
    sys.meta_path.append(finder)
    try:
        module = importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)
    try:
        yield module
    finally:
        for key, loaded in list(sys.modules.items()):
            if isinstance(loaded, StandIn) or key.partition(".")[0] == name:
                del sys.modules[key]
