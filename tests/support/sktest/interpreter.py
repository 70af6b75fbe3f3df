"""Triton's interpreter as the tests use it: switched on before triton is imported, and quicker."""

from __future__ import annotations

import dataclasses
import os

import torch


def switch_on() -> None:
    """Interpret Triton kernels, on CPU tensors, where there is no GPU to compile them for."""
    if torch.cuda.is_available():
        return
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        from triton.runtime import interpreter
    except ImportError:
        return  # the backend says what it needs
    # A third of the time goes into looking for overflow after every integer operation.
    builder = interpreter.interpreter_builder
    builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)
