"""Systems that tests of the solvers share: cached problems, and maps written without operators.

The maps keep samples apart to the last bit: they multiply by real numbers and by the unit, whose
products torch rounds the same way wherever they stand in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from sktest.backends import device_of, is_simulated
from sktest.krylov import KINDS, Problem, phantom, problem, sense

SHARED = ("line", "line-h", "plane", "weighted", "full", "zero")  # masks that are not per sample


def kinds(backend: str, names: tuple[str, ...] = KINDS) -> tuple[str, ...]:
    """Mask kinds for a backend: few where kernels run in an interpreter."""
    few = ("line", "plane")
    return tuple(name for name in names if name in few) if is_simulated(backend) else names


@functools.cache
def imaging(kind: str, backend: str, gamma: float = 5.0, n: int = 16) -> Problem:
    """Multi-coil imaging of two phantoms with that kind of mask."""
    return problem(
        lambda dtype, device: sense(kind, n, n, dtype=dtype, device=device),
        phantom(n, n, 2),
        gamma,
        device=device_of(backend),
    )


def ring(v: Tensor) -> Tensor:
    """N v = 3 v + i (S v - S* v), S a shift: Hermitian, not real, eigenvalues in [1, 5]."""
    return 3 * v + 1j * (torch.roll(v, 1, -1) - torch.roll(v, -1, -1))


def chain(v: Tensor) -> Tensor:
    """N v = 2.5 v - S v - S* v on real or complex vectors, eigenvalues in [0.5, 4.5]."""
    return 2.5 * v - torch.roll(v, 1, -1) - torch.roll(v, -1, -1)


def diagonal(low: float, high: float, n: int = 24, device: str = "cpu") -> Callable:
    """v -> d v with d from ``low`` to ``high``."""
    d = torch.linspace(low, high, n, device=device)
    return lambda v: v * d.to(v.real.dtype)


def vectors(
    samples: int, n: int = 24, dtype: torch.dtype = torch.complex64, device: str = "cpu", seed=0
) -> Tensor:
    """Random vectors, the same for every number of samples and every dtype but for rounding."""
    drawn = [
        torch.randn(n, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed + i))
        for i in range(samples)
    ]
    v = torch.stack(drawn) if drawn else torch.zeros(0, n, dtype=torch.complex128)
    return (v if dtype.is_complex else v.real).to(device, dtype)
