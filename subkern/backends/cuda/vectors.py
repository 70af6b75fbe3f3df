"""What the kernels on groups of vectors share: where they serve, and scratch for their sums."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native


def device_refusal(t: Tensor) -> str | None:
    """Why the CUDA kernels cannot serve tensors where this one is, or None."""
    if (reason := native.refusal("_CUDA")) is not None:
        return reason
    served = "cpu" if native.module("_CUDA").emulated else "cuda"
    return None if t.device.type == served else f"serves {served} tensors only, got {t.device.type}"


class Sums:
    """Scratch of a kernel whose blocks share groups; empty where a group has one block."""

    def __init__(self, workspace_bytes: int, groups: int, device: torch.device):
        counters = groups if workspace_bytes else 0
        self._workspace = torch.empty(workspace_bytes, dtype=torch.uint8, device=device)
        self._counters = torch.zeros(counters, dtype=torch.int32, device=device)

    def arguments(self) -> dict[str, int]:
        """Arguments of the binding; the memory lives as long as this object."""
        return {
            "workspace": self._workspace.data_ptr(),
            "workspace_bytes": self._workspace.numel(),
            "counters": self._counters.data_ptr(),
        }
