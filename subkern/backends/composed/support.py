"""What composed implementations share: where "cuda" serves, and products in full float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from subkern.backends import native


def cuda_refusal(X: Tensor) -> str | None:
    """Why backend "cuda" cannot serve a composed op, which needs no module of ours, or None."""
    if X.device.type == "cuda":
        return None
    if native.refusal("_CUDA") is None and native.module("_CUDA").emulated:
        return None if X.device.type == "cpu" else f"serves cpu tensors only, got {X.device.type}"
    return f"serves CUDA tensors only, got {X.device.type}"


def is_fake(X: Tensor) -> bool:
    """Whether the tensor has a shape and a device but no memory, so that no kernel can take it."""
    return isinstance(X, FakeTensor)


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Float32 products that keep all bits, whatever the user allows elsewhere."""
    matmul = torch.backends.cuda.matmul
    if not matmul.allow_tf32:
        yield
        return
    matmul.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32 = True
