"""The marker ``gpu``: what needs a real GPU is skipped with the reason where there is none.

On a machine with a GPU the cases of backends "triton" and "cuda" run there, so they carry the
marker too, and ``pytest -m gpu`` is every test that touches the device.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pytest
import torch

GPU_BACKENDS = frozenset({"triton", "cuda"})


@functools.cache
def missing() -> str | None:
    """Why there is no GPU to run on, or None."""
    if torch.version.cuda is None:
        return f"needs a GPU: torch {torch.__version__} is a build without CUDA"
    if not torch.cuda.is_available():
        return "needs a GPU: torch.cuda finds none"
    return None


def mark(items: Sequence[pytest.Item], reason: str | None) -> None:
    """Skip the marked items for ``reason``; without one, mark the cases of the GPU backends."""
    for item in items:
        if reason is not None:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=reason))
        elif (call := getattr(item, "callspec", None)) is not None:
            names = {value for value in call.params.values() if isinstance(value, str)}
            if names & GPU_BACKENDS:
                item.add_marker(pytest.mark.gpu)
