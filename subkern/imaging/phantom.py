"""A complex test image and coils to see it with, by formulas alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from subkern.ops._checks import check_number

# Ellipses of the head phantom of Shepp and Logan (1974) with the contrasts of Toft (1996):
# intensity, half axes (x, y), centre (x, y), angle in degrees.
ELLIPSES = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0.0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18.0),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18.0),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0.0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0.0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0.0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0.0),
    (0.1, 0.023, 0.023, 0.0, -0.605, 0.0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0.0),
)


def _grid(op: str, size: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(y, x) of the pixels' centres in [-1, 1], y downwards, float64."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) for n in pair):
        raise TypeError(f"{op}: size must be an int or (H, W), got {size}")
    if min(pair) < 1:
        raise ValueError(f"{op}: size must be positive, got {size}")
    y, x = ((2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1 for n in pair)
    return y[:, None].expand(pair), x[None, :].expand(pair)


def shepp_logan(size: int | tuple[int, int]) -> Tensor:
    """The head phantom, (H, W) float32 in [0, 1].

    Args:
        size: n or (H, W).

    Example:
        >>> shepp_logan(64).max().item()
        1.0
    """
    y, x = _grid("shepp_logan", size)
    image = torch.zeros_like(x)
    for value, a, b, x0, y0, degrees in ELLIPSES:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        u = (x - x0) * c - (y + y0) * s
        v = (x - x0) * s + (y + y0) * c
        image[(u / a).square() + (v / b).square() <= 1] += value
    return image.clamp(0, 1).float()


def smooth_phase(
    size: int | tuple[int, int],
    *,
    strength: float = math.pi / 2,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A smooth phase in radians, (H, W) float32: a random polynomial of second degree.

    Args:
        size: n or (H, W).
        strength: largest magnitude.
        generator: on the CPU; None is torch's own.

    Example:
        >>> import torch
        >>> phase = smooth_phase(8, strength=1.0, generator=torch.Generator().manual_seed(0))
        >>> phase.abs().max().item()
        1.0
    """
    y, x = _grid("smooth_phase", size)
    check_number("smooth_phase", "strength", strength)
    terms = torch.stack([torch.ones_like(x), x, y, x * y, x * x, y * y])
    weights = torch.randn(len(terms), dtype=torch.float64, generator=generator)
    phase = (weights[:, None, None] * terms).sum(0)
    return (phase * (strength / phase.abs().max().clamp_min(1e-12))).float()


def phantom(
    size: int | tuple[int, int],
    *,
    strength: float = math.pi / 2,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The head phantom with a smooth phase, (1, H, W) complex64.

    Args:
        size: n or (H, W).
        strength: largest magnitude of the phase in radians; 0 leaves the image real.
        generator: of the phase, on the CPU.

    Example:
        >>> import torch
        >>> image = phantom(32, generator=torch.Generator().manual_seed(0))
        >>> tuple(image.shape), image.dtype
        ((1, 32, 32), torch.complex64)
    """
    phase = smooth_phase(size, strength=strength, generator=generator)
    return torch.polar(shepp_logan(size), phase)[None]


def birdcage_maps(
    coils: int,
    size: int | tuple[int, int],
    *,
    radius: float = 1.5,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Sensitivities of coils on a circle, (1, coils, H, W) complex, of unit root sum of squares.

    Coil c stands at the angle 2 pi c / coils, ``radius`` half widths from the middle. Its
    sensitivity has the magnitude 1 / distance, and as phase the angle under which a pixel is seen
    from the coil less the coil's own angle; all are divided by their root sum of squares.

    Args:
        coils: at least 1.
        size: n or (H, W).
        radius: of the circle, above sqrt(2) so that no coil stands in the image.
        dtype: complex64 or complex128.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or value.

    Example:
        >>> maps = birdcage_maps(4, 16)
        >>> round(maps.abs().square().sum(1).max().item(), 5)
        1.0
    """
    op = "birdcage_maps"
    if isinstance(coils, bool) or not isinstance(coils, int):
        raise TypeError(f"{op}: coils must be an int, got {type(coils).__name__}")
    if coils < 1:
        raise ValueError(f"{op}: coils must be at least 1, got {coils}")
    if check_number(op, "radius", radius) <= math.sqrt(2):
        raise ValueError(f"{op}: radius must be above sqrt(2), got {radius}")
    if dtype not in (None, torch.complex64, torch.complex128):
        raise TypeError(f"{op}: dtype must be complex64 or complex128, got {dtype}")
    y, x = _grid(op, size)
    angles = 2 * math.pi * torch.arange(coils, dtype=torch.float64)[:, None, None] / coils
    dx, dy = x - radius * angles.cos(), y - radius * angles.sin()
    maps = torch.polar(1 / torch.hypot(dx, dy), torch.atan2(dy, dx) - angles)
    maps = maps / maps.abs().square().sum(0, keepdim=True).sqrt()
    return maps[None].to(dtype or torch.complex64)
