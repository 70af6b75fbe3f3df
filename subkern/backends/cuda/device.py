"""What the CUDA adapters share: refusals, the queue a kernel goes to, scalars on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import CODES


def refusal(op: str, params: Sequence[Tensor], exp_avgs: Sequence[Tensor]) -> str | None:
    """Why the CUDA kernels of ``op`` cannot serve parameters and moments like these, or None."""
    if (reason := native.refusal("_CUDA")) is not None:
        return reason
    if op in getattr(native.module("_CUDA"), "lacks", ()):
        return "needs the native module subkern._CUDA, which CuPy does not replace here"
    served = "cpu" if native.module("_CUDA").emulated else "cuda"
    if params and params[0].device.type != served:
        return f"serves {served} tensors only, got {params[0].device.type}"
    if params and params[0].dtype not in CODES:
        return f"serves float32 and bfloat16 parameters, got {params[0].dtype}"
    if exp_avgs and exp_avgs[0].dtype != torch.float32:
        return f"keeps moments in float32, got {exp_avgs[0].dtype}"
    return None


def matrix_refusal(A: Tensor) -> str | None:
    """Why the CUDA kernels cannot serve a batch of matrices like this, or None."""
    if (reason := native.refusal("_CUDA")) is not None:
        return reason
    served = "cpu" if native.module("_CUDA").emulated else "cuda"
    if A.device.type != served:
        return f"serves {served} tensors only, got {A.device.type}"
    if A.dtype not in CODES:
        return f"serves float32 and bfloat16 matrices, got {A.dtype}"
    return None


def queue(device: torch.device) -> dict[str, int]:
    """Arguments ``device`` and ``stream`` of a kernel; the emulator has one queue."""
    if device.type == "cpu":
        return {"device": 0, "stream": 0}
    stream = torch.cuda.current_stream(device)
    return {"device": stream.device_index, "stream": stream.cuda_stream}


def rate(lr: Tensor, device: torch.device) -> tuple[float, Tensor | None]:
    """The learning rate as a number, or as a float32 tensor for the kernels to read."""
    if lr.device.type == "cpu":
        return float(lr), None
    return 0.0, lr.to(device, torch.float32)
