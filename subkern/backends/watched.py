"""Whether kernels may be called at once: there is memory, and nobody wants to see ops."""

from __future__ import annotations

import torch
from torch import Tensor

DEVICES = ("cpu", "cuda")
PLAIN = (Tensor, torch.nn.Parameter)  # types that torch does not intercept


def is_traced() -> bool:
    """Whether a compiler, a dispatch mode or a transform such as vmap stands between."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
    )


def is_watched() -> bool:
    """Whether somebody wants to see what torch is asked for: one of those, or a profiler."""
    return is_traced() or torch.autograd._profiler_enabled()


def is_real(t: Tensor) -> bool:
    """Whether a tensor has memory on one of our devices and is of no kind that torch intercepts."""
    return type(t) in PLAIN and t.device.type in DEVICES
