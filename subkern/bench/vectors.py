"""What the cases of single passes share: a solver's vectors, and torch's lines compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import linalg
from subkern.bench.compiled import works
from subkern.bench.registry import Absent, Case, Setup

# Samples, side of an image, whether it is complex: to the ops, twice as many real numbers.
SHAPES = ((1, 64, False), (1, 320, False), (1, 320, True), (8, 256, False))

Shape = tuple[int, int, bool]


def numbers(shape: Shape) -> int:
    """Real numbers of all samples."""
    samples, side, is_complex = shape
    return samples * side * side * (2 if is_complex else 1)


def draw(count: int, shape: Shape, where: str) -> tuple[Tensor, ...]:
    """Normal vectors as the ops take them, (samples, numbers)."""
    generator = torch.Generator().manual_seed(numbers(shape))
    drawn = torch.randn(count, shape[0], numbers(shape) // shape[0], generator=generator)
    return drawn.to(where).unbind()


def competitors(
    op: Callable[..., Any],
    probe: Callable[..., Any],
    peers: Mapping[str, Callable[[], Any]],
    errors: linalg.Judge,
    where: str,
    quick: bool,
) -> Setup:
    """Ours and torch's ways, of which ``--quick`` leaves out the one that takes a compiler.

    Args:
        op: see :func:`subkern.bench.linalg.competitors`; so for the next two and ``errors``.
        probe: on a small input.
        peers: by name; "compiled" is torch.compile's.
        errors: of what any of them returns.
        where: device.
        quick: whether compiling takes too long.
    """
    reason = "left out by --quick" if quick else works(torch.device(where))
    if reason is None:
        torch.compiler.reset()  # eight shapes of one function would end in eager code
        return linalg.competitors(op, probe, peers, errors, where, two_threads=True)
    left = {name: peer for name, peer in peers.items() if name != "compiled"}
    made = linalg.competitors(op, probe, left, errors, where, two_threads=True)
    return Setup([*made.variants, Absent("compiled", reason)])


def cases(
    op: str,
    setup: Callable[..., Setup],
    cost: Callable[[int], tuple[int, int]],
) -> list[Case]:
    """A case of every size, on a CPU.

    Args:
        op: the op's stem.
        setup: takes a shape, a device and ``quick``.
        cost: bytes and FLOPs of so many real numbers.
    """
    found = []
    for shape in SHAPES:
        samples, side, is_complex = shape
        nbytes, flops = cost(numbers(shape))
        found.append(
            Case(
                name=f"{op}-{side}x{side}{'-complex' if is_complex else ''}-b{samples}",
                op=op,
                shape=f"{side}x{side}",
                dtype="fp32",
                setup=partial(setup, shape, "cpu"),
                bytes=nbytes,
                flops=flops,
                batch=samples,
            )
        )
    return found
