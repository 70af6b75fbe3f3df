"""Multi-coil imaging on CUDA: one launch for a line mask, three for a plane."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.sense_normal import image_refusal, layout_refusal, shape_of, transforms
from subkern.backends.cuda.device import queue
from subkern.backends.registry import register
from subkern.reference import sense_normal as reference


def can_pack(*, maps: Tensor, weights: Tensor, **_: object) -> str | None:
    """None, or why maps and weights need another backend."""
    if (reason := native.refusal("_CUDA")) is not None:
        return reason
    served = "cpu" if native.module("_CUDA").emulated else "cuda"
    if maps.device.type != served:
        return f"serves {served} tensors only, got {maps.device.type}"
    return layout_refusal(maps, weights)


def can_serve(
    *, v: Tensor, maps: Tensor, weights: Tensor, gamma: Tensor | None, **_: object
) -> str | None:
    """None, or why this call needs another backend."""
    reason = can_pack(maps=maps, weights=weights)
    return reason or image_refusal(maps, weights, gamma, v)


@register("sense_pack", "cuda", can_pack)
def sense_pack(maps: Tensor, weights: Tensor) -> Tensor:
    """Weights by the order of the transform, and its tables; made by the host."""
    if not transforms(weights):
        return reference.sense_pack(maps, weights)
    kernels, shape = native.module("_CUDA"), shape_of(maps, weights)
    sizes = {key: shape[key] for key in ("line", "weight_sets", "h", "w")}
    near = weights.cpu()
    packed = torch.zeros(kernels.sense_pack_floats(**sizes), dtype=torch.float32, device="cpu")
    kernels.sense_pack(
        **sizes,
        weights=near.data_ptr(),
        packed=packed.data_ptr(),
        packed_floats=packed.numel(),
    )
    return packed.to(maps.device)


def arguments(
    images: int, maps: Tensor, weights: Tensor, packed: Tensor | None
) -> tuple[dict[str, Any], Tensor]:
    """What every kernel is given of maps and weights, and what has to be kept meanwhile."""
    if packed is None:
        packed = sense_pack(maps, weights)
    call = dict(
        **shape_of(maps, weights),
        images=images,
        maps=maps.data_ptr(),
        packed=packed.data_ptr(),
        packed_floats=packed.numel(),
    )
    return call, packed


@register("sense_normal", "cuda", can_serve)
def sense_normal(
    v: Tensor, maps: Tensor, weights: Tensor, gamma: Tensor | None, packed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """See :func:`subkern.reference.sense_normal.sense_normal`."""
    if not transforms(weights):
        return reference.sense_normal(v, maps, weights, gamma)
    kernels = native.module("_CUDA")
    call, kept = arguments(len(v), maps, weights, packed)
    sizes = {key: call[key] for key in ("line", "images", "coils", "h", "w")}
    room = kernels.sense_workspace(**sizes)
    scratch = torch.empty(room, dtype=torch.uint8, device=v.device)
    out = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    dot = torch.empty(v.shape[:2], dtype=torch.float64, device=v.device)
    kernels.sense_normal(
        **call,
        v=v.data_ptr(),
        gamma=0 if gamma is None else gamma.data_ptr(),
        out=out.data_ptr(),
        dot=dot.data_ptr(),
        workspace=scratch.data_ptr(),
        workspace_bytes=room,
        **queue(v.device),
    )
    del kept
    return out, dot if call["line"] else dot.sum(1)
