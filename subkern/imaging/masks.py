"""Sampling masks of Cartesian k-space, each with the fraction of it that was really sampled.

A mask is drawn without replacement unless asked otherwise, and then keeps what the acceleration
promises to within one line or point. Draws with replacement hit some places twice and miss the
nominal acceleration: lines at x4 become about x4.5, Gaussian points at x8 about x11.5. The fraction
tells. Zero frequencies lie at n // 2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from subkern.ops._checks import check_choice, check_flag, check_number

# Widths and counts of the masks in the code that came with score-based MRI (Chung and Ye, 2022),
# which the Decomposed Diffusion Sampler was published with.
RELEASED_LINE_STD = 15 / 128
RELEASED_POINT_STD = math.sqrt(1.5 / 128)
RELEASED_EXTRA = 1.2


class Mask(NamedTuple):
    """A sampling mask.

    Attributes:
        mask: (1, 1, H, W) float32, 0 or 1.
        fraction: sampled share of k-space; 1 / fraction is the acceleration that was reached.
    """

    mask: Tensor
    fraction: float


def _size(op: str, size: int | tuple[int, int]) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) for n in pair):
        raise TypeError(f"{op}: size must be an int or (H, W), got {size}")
    if min(pair) < 1:
        raise ValueError(f"{op}: size must be positive, got {size}")
    return pair


def _common(op: str, acceleration: float, generator: object, compatibility: object) -> bool:
    """Checks what all masks take; whether the draw is to be as it was released."""
    check_number(op, "acceleration", acceleration, 1.0)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"{op}: generator must be a torch.Generator, got {type(generator).__name__}"
        )
    if isinstance(generator, torch.Generator) and generator.device.type != "cpu":
        raise ValueError(f"{op}: generator must be on cpu, got {generator.device}")
    if compatibility is None:
        return False
    check_choice(op, "compatibility", compatibility, ("released",))  # type: ignore[arg-type]
    return True


def _finish(mask: Tensor, device: torch.device | str | None) -> Mask:
    return Mask(mask[None, None].float().to(device or "cpu"), float(mask.double().mean()))


def _centre(n: int, count: int) -> slice:
    first = n // 2 - count // 2
    return slice(first, first + count)


def _budget(op: str, places: int, acceleration: float, centre: int, released: bool) -> int:
    """How many places are left to draw beside the centre."""
    total = places // acceleration if released else round(places / acceleration)
    if total < centre or not total:
        raise ValueError(
            f"{op}: acceleration must leave room for the centre, {centre} of {places} places, "
            f"got {acceleration}; lower centre_fraction"
        )
    return int(total) - centre


def _distinct(log_weights: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """``count`` different places, drawn one after the other in proportion to their weights."""
    uniform = torch.rand(log_weights.shape, dtype=torch.float64, generator=generator)
    keys = log_weights - (-uniform.clamp_min(1e-300).log()).log()  # Gumbel's trick
    return keys.topk(count).indices


def _lines(chosen: Tensor, size: tuple[int, int], axis: int) -> Tensor:
    return (chosen[None, :] if axis == 1 else chosen[:, None]).expand(size).contiguous()


def _axis(op: str, axis: int) -> int:
    if isinstance(axis, bool) or axis not in (-2, -1, 0, 1):
        raise ValueError(f"{op}: axis must be 0, 1, -2 or -1, got {axis}")
    return axis % 2


def uniform1d(
    size: int | tuple[int, int],
    acceleration: float,
    *,
    centre_fraction: float = 0.08,
    axis: int = -1,
    replace: bool = False,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    compatibility: str | None = None,
) -> Mask:
    """Whole lines, the central ones and others drawn uniformly at random.

    Args:
        size: n or (H, W).
        acceleration: places per sampled place, at least 1.
        centre_fraction: share of the lines, in the middle, that are always sampled.
        axis: the axis whose places are lines, 0 or 1.
        replace: draw with replacement, also from the centre: fewer lines than promised.
        generator: on the CPU; None is torch's own.
        device: of the mask.
        compatibility: "released" draws as the released code does: with replacement.

    Returns:
        :class:`Mask` (mask, fraction).

    Raises:
        TypeError, ValueError: an argument of the wrong kind or value.

    Example:
        >>> import torch
        >>> drawn = uniform1d(64, 4, generator=torch.Generator().manual_seed(0))
        >>> tuple(drawn.mask.shape), drawn.fraction
        ((1, 1, 64, 64), 0.25)
    """
    op = "uniform1d"
    size, axis = _size(op, size), _axis(op, axis)
    released = _common(op, acceleration, generator, compatibility)
    check_number(op, "centre_fraction", centre_fraction, 0.0, 1.0, closed=True)
    n = size[axis]
    centre = int(n * centre_fraction) if released else round(n * centre_fraction)
    count = _budget(op, n, acceleration, centre, released)
    chosen = torch.zeros(n)
    chosen[_centre(n, centre)] = 1
    if check_flag(op, "replace", replace) or released:
        chosen[torch.randint(n, (count,), generator=generator)] = 1
    else:
        rest = (chosen == 0).nonzero()[:, 0]
        chosen[rest[torch.randperm(len(rest), generator=generator)[:count]]] = 1
    return _finish(_lines(chosen, size, axis), device)


def gaussian1d(
    size: int | tuple[int, int],
    acceleration: float,
    *,
    centre_fraction: float = 0.08,
    std: float = RELEASED_LINE_STD,
    axis: int = -1,
    replace: bool = False,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    compatibility: str | None = None,
) -> Mask:
    """Whole lines, the central ones and others of Gaussian density around them.

    Args:
        size: n or (H, W).
        acceleration: see :func:`uniform1d`.
        centre_fraction: likewise.
        std: standard deviation of the density, as a share of the axis.
        axis: the axis whose places are lines.
        replace: draw with replacement; what falls outside is put on the border.
        generator: on the CPU; None is torch's own.
        device: of the mask.
        compatibility: "released" draws 1.2 n / acceleration lines with replacement beside the
            centre.

    Returns:
        :class:`Mask` (mask, fraction).

    Raises:
        TypeError, ValueError: an argument of the wrong kind or value.

    Example:
        >>> import torch
        >>> gaussian1d((32, 64), 4, generator=torch.Generator().manual_seed(0)).fraction
        0.25
    """
    op = "gaussian1d"
    size, axis = _size(op, size), _axis(op, axis)
    released = _common(op, acceleration, generator, compatibility)
    check_number(op, "centre_fraction", centre_fraction, 0.0, 1.0, closed=True)
    std = _width(op, std)
    n = size[axis]
    centre = int(n * centre_fraction) if released else round(n * centre_fraction)
    count = _budget(op, n, acceleration, centre, released)
    chosen = torch.zeros(n)
    chosen[_centre(n, centre)] = 1
    if check_flag(op, "replace", replace) or released:
        if released:
            count = int(n // acceleration * RELEASED_EXTRA)
        chosen[_normal_places(n, std, count, generator)] = 1
    else:
        place = torch.arange(n, dtype=torch.float64) - n // 2
        weights = -0.5 * (place / (std * n)).square()
        weights[_centre(n, centre)] = -math.inf
        chosen[_distinct(weights, count, generator)] = 1
    return _finish(_lines(chosen, size, axis), device)


def gaussian2d(
    size: int | tuple[int, int],
    acceleration: float,
    *,
    centre_fraction: float = 0.0,
    std: float = RELEASED_POINT_STD,
    replace: bool = False,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    compatibility: str | None = None,
) -> Mask:
    """Single points of Gaussian density around the centre.

    Args:
        size: n or (H, W).
        acceleration: see :func:`uniform1d`.
        centre_fraction: share of each axis; the block in the middle is always sampled.
        std: standard deviation of the density, as a share of each axis.
        replace: draw with replacement; what falls outside is put on the border.
        generator: on the CPU; None is torch's own.
        device: of the mask.
        compatibility: "released" draws with replacement and has no block in the middle.

    Returns:
        :class:`Mask` (mask, fraction).

    Raises:
        TypeError, ValueError: an argument of the wrong kind or value.

    Example:
        >>> import torch
        >>> gaussian2d(64, 8, generator=torch.Generator().manual_seed(0)).fraction
        0.125
    """
    op = "gaussian2d"
    size = H, W = _size(op, size)
    released = _common(op, acceleration, generator, compatibility)
    check_number(op, "centre_fraction", centre_fraction, 0.0, 1.0, closed=True)
    std = _width(op, std)
    block = [0 if released else round(n * centre_fraction) for n in size]
    count = _budget(op, H * W, acceleration, block[0] * block[1], released)
    mask = torch.zeros(size)
    mask[_centre(H, block[0]), _centre(W, block[1])] = 1
    if check_flag(op, "replace", replace) or released:
        rows, columns = (_normal_places(n, std, count, generator) for n in size)
        mask[rows, columns] = 1
    else:
        y, x = ((torch.arange(n, dtype=torch.float64) - n // 2) / n for n in size)
        weights = -0.5 * (y[:, None].square() + x.square()) / std**2
        weights[mask > 0] = -math.inf
        mask.view(-1)[_distinct(weights.view(-1), count, generator)] = 1
    return _finish(mask, device)


def _width(op: str, std: float) -> float:
    if check_number(op, "std", std) == 0:
        raise ValueError(f"{op}: std must be positive, got {std}")
    return std


def _normal_places(n: int, std: float, count: int, generator: torch.Generator | None) -> Tensor:
    """``count`` draws with replacement around n // 2."""
    drawn = torch.randn(count, dtype=torch.float64, generator=generator) * (std * n) + n // 2
    return drawn.trunc().clamp(0, n - 1).long()


def vd_poisson(
    size: int | tuple[int, int],
    acceleration: float,
    *,
    centre_fraction: float = 0.08,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Mask:
    """Points that keep a distance from each other, which grows away from the centre.

    A variable-density Poisson disk: places are offered in random order, and one that is taken bars
    all within 1 + s rho pixels of it, rho the distance from the centre relative to the border. The
    slope s is the largest, found by bisection, that yields enough points; the last ones that
    were taken in excess are dropped, so that the acceleration is met exactly.

    Args:
        size: n or (H, W).
        acceleration: see :func:`uniform1d`.
        centre_fraction: share of each axis; the block in the middle is always sampled.
        generator: on the CPU; None is torch's own.
        device: of the mask.

    Returns:
        :class:`Mask` (mask, fraction).

    Raises:
        TypeError, ValueError: an argument of the wrong kind or value.

    Example:
        >>> import torch
        >>> vd_poisson(32, 4, generator=torch.Generator().manual_seed(0)).fraction
        0.25
    """
    op = "vd_poisson"
    size = H, W = _size(op, size)
    _common(op, acceleration, generator, None)
    check_number(op, "centre_fraction", centre_fraction, 0.0, 1.0, closed=True)
    block = [round(n * centre_fraction) for n in size]
    middle = torch.zeros(size)
    middle[_centre(H, block[0]), _centre(W, block[1])] = 1
    count = _budget(op, H * W, acceleration, int(middle.sum()), False)
    shuffled = torch.randperm(H * W, generator=generator)
    order: list[int] = shuffled[middle.view(-1)[shuffled] == 0].tolist()
    y, x = ((torch.arange(n) - n // 2).double() / max(n / 2, 1) for n in size)
    rho = (y[:, None].square() + x.square()).sqrt().view(-1)

    low, high, found = 0.0, float(max(size)), order[:count]
    for _ in range(12):
        slope = (low + high) / 2
        taken = _throw(order, rho, slope, size, count)
        if len(taken) == count:
            low, found = slope, taken
        else:
            high = slope
    middle.view(-1)[torch.tensor(found, dtype=torch.long)] = 1
    return _finish(middle, device)


def _throw(
    order: list[int], rho: Tensor, slope: float, size: tuple[int, int], count: int
) -> list[int]:
    """The first ``count`` places of ``order`` that no earlier one bars, or fewer."""
    H, W = size
    # Discs in a few radii, so that they are drawn once; numpy's slices cost a third of torch's.
    steps = (1 + slope * rho).clamp(max=float(max(size))).mul(4).round().long().tolist()
    pad = max(steps) // 4 + 1
    barred = torch.zeros(H + 2 * pad, W + 2 * pad, dtype=torch.bool).numpy()
    discs: dict[int, tuple[int, object]] = {}
    taken: list[int] = []
    for place in order:
        row, column = divmod(place, W)
        row, column = row + pad, column + pad
        if barred[row, column]:
            continue
        taken.append(place)
        if len(taken) == count:
            break
        step = steps[place]
        if step not in discs:
            reach = step // 4
            d = torch.arange(-reach, reach + 1)
            discs[step] = reach, ((d[:, None] ** 2 + d**2) * 16 < step * step).numpy()
        reach, disc = discs[step]
        barred[row - reach : row + reach + 1, column - reach : column + reach + 1] |= disc
    return taken
