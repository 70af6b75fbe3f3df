"""Whether Triton can serve tensors here; asks without importing triton where it need not."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Sequence
from importlib import metadata

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16)
OLDEST = (8, 0)  # compute capability: bfloat16 products, cp.async
OLDEST_INTERPRETER = (3, 9)  # before, loops whose bounds are arguments fail with NumPy 2.4


@functools.cache
def _installed() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "needs the package triton (pip install triton)"
    return None


@functools.cache
def _gpu_refusal(index: int) -> str | None:
    if torch.version.hip is not None:
        return "serves NVIDIA GPUs, and this torch is built for AMD's"
    found = torch.cuda.get_device_capability(index)
    if found < OLDEST:
        return f"needs compute capability 8.0, got {found[0]}.{found[1]}"
    return None


@functools.cache
def _interpreter_refusal() -> str | None:
    version = metadata.version("triton")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_INTERPRETER:
        oldest = ".".join(map(str, OLDEST_INTERPRETER))
        return f"interprets kernels from triton {oldest} on, got {version}"
    return None


def _device_refusal(device: torch.device) -> str | None:
    interpreting = os.environ.get("TRITON_INTERPRET") == "1"
    if device.type == "cuda":
        if interpreting:  # it would look up the addresses of the tables on the host
            return "serves CPU tensors only under TRITON_INTERPRET=1, got cuda"
        return _gpu_refusal(device.index)
    if device.type == "cpu" and interpreting:
        return _interpreter_refusal()
    return f"serves CUDA tensors, or CPU tensors under TRITON_INTERPRET=1, got {device.type}"


def refusal(params: Sequence[Tensor], exp_avgs: Sequence[Tensor]) -> str | None:
    """Why the Triton kernels cannot serve parameters and moments like these, or None."""
    if (reason := _installed()) is not None:
        return reason
    if params:
        if (reason := _device_refusal(params[0].device)) is not None:
            return reason
        dtype = params[0].dtype
        if dtype not in DTYPES:
            return f"serves float32 and bfloat16 parameters, got {dtype}"
    if exp_avgs and exp_avgs[0].dtype != torch.float32:
        return f"keeps moments in float32, got {exp_avgs[0].dtype}"
    return None
