"""The published packages, when they are installed: galore-torch, fira and deepinv.

They are peers to compare with, never dependencies.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from subkern.bench.stand_ins import stand_ins

PACKAGES = {
    "galore": ("galore-torch", "galore_torch.adamw"),
    "fira": ("fira", "fira.fira_adamw"),
    "deepinv": ("deepinv", "deepinv"),
}


def _module(peer: str) -> ModuleType:
    package, module = PACKAGES[peer]
    with stand_ins():
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


def deepinv() -> ModuleType:
    """The package deepinv.

    Raises:
        ImportError: The package is not installed or does not import.
    """
    return _module("deepinv")
