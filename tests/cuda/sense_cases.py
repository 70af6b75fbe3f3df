"""Calls of the kernels of multi-coil imaging, past the adapters."""

from __future__ import annotations

import torch
from torch import Tensor

IMAGES, COILS, H, W = 2, 3, 6, 20


def prepared(kernels, op: str, line: bool = True) -> tuple[dict, dict[str, Tensor]]:
    """Arguments of a good call, and what it writes by name."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        made = torch.randn(shape, dtype=torch.complex64, generator=generator)
        return made.to(kernels.device)

    def blank(count: int, dtype: torch.dtype) -> Tensor:
        return torch.full((count,), 7, dtype=dtype, device=kernels.device)

    sizes = dict(line=line, weight_sets=1, h=H, w=W)
    weights = torch.rand(W if line else H * W, generator=generator)
    packed = torch.zeros(kernels.module.sense_pack_floats(**sizes))
    kernels.module.sense_pack(
        **sizes,
        weights=weights.data_ptr(),
        packed=packed.data_ptr(),
        packed_floats=packed.numel(),
    )
    read = dict(maps=draw(1, COILS, H, W), packed=packed.to(kernels.device))
    read["gamma"] = torch.ones(IMAGES, device=kernels.device)
    call = dict(sizes, images=IMAGES, map_sets=1, coils=COILS, packed_floats=packed.numel())
    rows = IMAGES * H
    if op == "sense_normal":
        read["v"] = draw(IMAGES, H, W)
        written = dict(out=draw(IMAGES, H, W), dot=blank(rows, torch.float64))
        room = kernels.module.sense_workspace(line=line, images=IMAGES, coils=COILS, h=H, w=W)
        read["workspace"] = torch.zeros(room, dtype=torch.uint8, device=kernels.device)
        call["workspace_bytes"] = room
    else:
        call.pop("line")
        read |= dict(rhs=draw(IMAGES, H, W), start=draw(IMAGES, H, W))
        written = dict(x=draw(IMAGES, H, W), rr=blank(rows, torch.float64))
        written |= {name: blank(rows, torch.int32) for name in ("iterations", "status")}
        call |= dict(prox=True, maxiter=3)
    call |= {name: t.data_ptr() for name, t in (read | written).items()} | kernels.queue
    written["kept"] = torch.zeros(0)  # memory that the call reads lives as long as its results
    written["kept"].read = read
    return call, written


def run(kernels, op: str, line: bool = True) -> list[Tensor]:
    """What a call wrote."""
    call, written = prepared(kernels, op, line)
    getattr(kernels.module, op)(**call)
    return [t for name, t in written.items() if name != "kept"]
