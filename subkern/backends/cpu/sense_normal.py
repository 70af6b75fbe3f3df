"""Multi-coil imaging on the CPU: strips of rows through maps and transforms, in one native call."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.backends import native
from subkern.backends.cpu.tensors import empty
from subkern.backends.registry import register
from subkern.reference import sense_normal as reference


def shape_of(maps: Tensor, weights: Tensor) -> dict[str, int | bool]:
    """Arguments of every kernel, from maps and weights."""
    map_sets, coils, h, w = maps.shape
    line = weights.dim() == 2
    return dict(line=line, map_sets=map_sets, weight_sets=len(weights), coils=coils, h=h, w=w)


def layout_refusal(maps: Tensor, weights: Tensor) -> str | None:
    """Why no kernel can take maps and weights like these, or None."""
    if maps.dtype != torch.complex64 or weights.dtype != torch.float32:
        return f"serves complex64, got {maps.dtype}"
    lengths = maps.shape[-1:] if weights.dim() == 2 else maps.shape[-2:]
    if weights.shape[1:] != lengths or weights.device != maps.device:
        return f"needs weights (sets, {', '.join(map(str, lengths))}) beside the maps"
    if not (maps.is_contiguous() and weights.is_contiguous()) or maps.is_conj():
        return "needs contiguous maps and weights"
    return None


def image_refusal(
    maps: Tensor, weights: Tensor, gamma: Tensor | None, *images: Tensor | None
) -> str | None:
    """Why no kernel can take images like these with the maps, or None."""
    given = [v for v in images if v is not None]
    for v in given:
        if v.dtype != maps.dtype or v.device != maps.device:
            return f"needs images like the maps, got {v.dtype} on {v.device}"
        if v.dim() != 3 or v.shape[1:] != maps.shape[2:] or v.shape != given[0].shape:
            return f"needs images (b, {maps.shape[2]}, {maps.shape[3]}), got {tuple(v.shape)}"
        if not v.is_contiguous() or v.is_conj():
            return "needs contiguous images"
    count = len(given[0])
    if count % len(maps) or count % len(weights):
        return f"needs whole sets of maps and weights for {count} images"
    if gamma is None:
        return None
    if gamma.dtype != torch.float32 or gamma.shape != (count,) or gamma.device != maps.device:
        return f"needs gamma ({count},) float32 beside the maps"
    return None if gamma.is_contiguous() else "needs contiguous gamma"


def transforms(weights: Tensor) -> bool:
    """Whether the kernels transform such lengths: 2 to 1024, with the factors 2, 3 and 5.

    Others are torch's to transform, on every backend.
    """

    def smooth(n: int) -> bool:
        for prime in (2, 3, 5):
            while n % prime == 0:
                n //= prime
        return n == 1

    return all(2 <= n <= 1024 and smooth(n) for n in weights.shape[1:])


def can_pack(*, maps: Tensor, weights: Tensor, **_: object) -> str | None:
    """None, or why maps and weights need another backend."""
    if maps.device.type != "cpu":
        return f"serves CPU tensors only, got {maps.device.type}"
    return layout_refusal(maps, weights) or native.refusal()


def can_serve(
    *, v: Tensor, maps: Tensor, weights: Tensor, gamma: Tensor | None, **_: object
) -> str | None:
    """None, or why this call needs another backend."""
    reason = can_pack(maps=maps, weights=weights)
    return reason or image_refusal(maps, weights, gamma, v)


@register("sense_pack", "cpu", can_pack)
def sense_pack(maps: Tensor, weights: Tensor) -> Tensor:
    """Maps by strips of rows, weights by the order of the transform, its tables."""
    if not transforms(weights):
        return reference.sense_pack(maps, weights)
    kernels, shape = native.module(), shape_of(maps, weights)
    packed = empty(kernels.sense_pack_floats(**shape)).zero_()  # gaps between tables too
    kernels.sense_pack(
        **shape,
        maps=maps.data_ptr(),
        weights=weights.data_ptr(),
        packed=packed.data_ptr(),
        packed_floats=packed.numel(),
        threads=torch.get_num_threads(),
    )
    return packed


def memory(
    images: int, maps: Tensor, weights: Tensor, packed: Tensor | None
) -> tuple[dict[str, int], tuple[Tensor, Tensor]]:
    """Addresses of packed maps and of scratch, and what keeps them alive."""
    kernels, shape, threads = native.module(), shape_of(maps, weights), torch.get_num_threads()
    if packed is None:
        packed = sense_pack(maps, weights)
    room = kernels.sense_workspace(
        **{key: shape[key] for key in ("line", "coils", "h", "w")}, images=images, threads=threads
    )
    scratch = empty(room, dtype=torch.uint8)
    arguments = dict(
        packed=packed.data_ptr(),
        packed_floats=packed.numel(),
        workspace=scratch.data_ptr(),
        workspace_bytes=room,
        threads=threads,
    )
    return arguments, (packed, scratch)


@register("sense_normal", "cpu", can_serve)
def sense_normal(
    v: Tensor, maps: Tensor, weights: Tensor, gamma: Tensor | None, packed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """See :func:`subkern.reference.sense_normal.sense_normal`."""
    if not transforms(weights):
        return reference.sense_normal(v, maps, weights, gamma)
    out = empty(*v.shape, dtype=torch.complex64)
    dot = empty(*v.shape[: 2 if weights.dim() == 2 else 1], dtype=torch.float64)
    arguments, kept = memory(len(v), maps, weights, packed)
    native.module().sense_normal(
        **shape_of(maps, weights),
        images=len(v),
        v=v.data_ptr(),
        gamma=0 if gamma is None else gamma.data_ptr(),
        out=out.data_ptr(),
        dot=dot.data_ptr(),
        **arguments,
    )
    del kept
    return out, dot
