"""Launches of Triton kernels, counted by name."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from typing import Any

import torch

# a * b + c in one rounding, said aloud because Triton changes its default in 3.10.
OPTIONS = {"enable_fp_fusion": True}

_counts: Counter[str] = Counter()
# On CPU tensors kernels are interpreted, with the program's index in globals: one op at a time.
_interpreter = threading.RLock()


def on(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Context in which :func:`run` launches on ``device``: Triton knows the current one alone."""
    return torch.cuda.device(device) if device.type == "cuda" else _interpreter


def run(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
    """Launch ``kernel`` over ``grid`` on the current device and stream."""
    _counts[kernel.__name__] += 1
    kernel[grid](*arguments, **options, **OPTIONS)


def call_counts() -> dict[str, int]:
    """Launches so far, per kernel."""
    return dict(_counts)
