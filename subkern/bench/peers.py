"""The published packages, when they are installed: galore-torch and fira.

They are peers to compare with, never dependencies. Both import packages that the part used here
does not need (bitsandbytes, transformers); where one is missing, an empty stand-in takes its place
while the peer is imported.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

PACKAGES = {
    "galore": ("galore-torch", "galore_torch.adamw"),
    "fira": ("fira", "fira.fira_adamw"),
}
_STAND_INS: dict[str, dict[str, Any]] = {
    "bitsandbytes": {},
    "bitsandbytes.optim": {},
    "bitsandbytes.optim.optimizer": {"Optimizer2State": object},
    "transformers": {},
    "transformers.utils": {},
    "transformers.utils.versions": {"require_version": lambda *_: None},
}


@contextmanager
def _stand_ins() -> Iterator[None]:
    added = []
    for name, content in _STAND_INS.items():
        top = name.partition(".")[0]
        if name in sys.modules or (top not in added and importlib.util.find_spec(top)):
            continue
        module = ModuleType(name)
        module.__path__ = []
        vars(module).update(content)
        sys.modules[name] = module
        added.append(name)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


def _module(rule: str) -> ModuleType:
    package, module = PACKAGES[rule]
    with _stand_ins():
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"{package} is not installed (pip install --no-deps {package})"
            ) from error


def adamw(rule: str) -> type[Any]:
    """The peer's AdamW class for "galore" or "fira".

    Raises:
        ImportError: The package is not installed or does not import.
    """
    return _module(rule).AdamW


def projector(rule: str) -> type[Any]:
    """The class that holds the peer's basis of one matrix."""
    name = {"galore": "GaLoreProjector", "fira": "GradientProjector"}[rule]
    return getattr(_module(rule), name)


def release(rule: str) -> str:
    """Name and version of the installed peer."""
    package = PACKAGES[rule][0]
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


class _Hollow(ModuleType):
    """A package of which every name is an empty class, and every module another such package."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *args, **options: None})


class _Hollows(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one package and all that is asked for below it."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """A spec for the package's own names alone."""
        if name.partition(".")[0] != self.package:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: Any) -> ModuleType:
        """The module of a spec."""
        return _Hollow(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


def deepinv() -> ModuleType:
    """The package deepinv; an empty torchvision stands in where there is none.

    Raises:
        ImportError: deepinv is not installed, or lacks something else.
    """
    if importlib.util.find_spec("deepinv") is None:
        raise ImportError("deepinv is not installed (pip install --no-deps deepinv)")
    hollow = _Hollows("torchvision")
    missing = importlib.util.find_spec("torchvision") is None
    if missing:
        sys.meta_path.insert(0, hollow)
    try:
        return importlib.import_module("deepinv")
    finally:
        if missing:
            sys.meta_path.remove(hollow)
