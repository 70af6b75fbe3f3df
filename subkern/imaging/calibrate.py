"""How well a denoiser knows an image at every noise level."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from subkern.imaging._denoiser import Denoiser, Network, check_generator, draw, takes_channels
from subkern.imaging.schedules import Schedule, as_schedule
from subkern.ops._interop import accepts_arrays
from subkern.ops.cg import check_steps, check_vector


@partial(accepts_arrays, hands_arrays=False)
def calibrate(
    denoiser: Denoiser,
    images: Tensor,
    *,
    schedule: Schedule | str | Tensor = "vp",
    prediction: str = "noise",
    layout: str | None = None,
    times: int = 33,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Measure v_t = E |x0 - x0(x_t, t)|^2 of a pixel, for ``gamma="matched"`` of :func:`dds`.

    For the best denoiser that is the expected posterior variance of a pixel given x_t. It is
    measured at a few noise levels, and interpolated as a power of the level between them.

    Args:
        denoiser: see :func:`subkern.imaging.dds`.
        images: (samples, ...) of the kind that will be sampled; complex ones for an operator on
            complex images, whatever the denoiser takes.
        schedule: see :func:`subkern.imaging.dds`.
        prediction: likewise.
        layout: "channels" if the denoiser takes complex images as two channels.
        times: how many noise levels to measure at, at least 2.
        generator: of the noise, on the images' device.

    Returns:
        (T,) float64 on the CPU.

    Raises:
        TypeError, ValueError: an argument of the wrong kind, dtype, shape, device or value.

    Example:
        >>> import torch
        >>> v = calibrate(lambda x, t: 0 * x, torch.ones(2, 4, 4) + 1j, prediction="x0")
        >>> len(v), round(v[0].item(), 4)
        (1000, 2.0)
    """
    images = check_vector("calibrate", "images", images)
    if not images.numel():
        raise ValueError(f"calibrate: images must not be empty, got shape {tuple(images.shape)}")
    plan = as_schedule("calibrate", schedule)
    check_steps("calibrate", "times", times, 2)
    check_generator("calibrate", generator, images.device)
    channels = takes_channels("calibrate", layout, images, None)
    network = Network("calibrate", denoiser, prediction, channels)
    level = (plan.noise / plan.scale).log()
    grid = torch.linspace(float(level[0]), float(level[-1]), times, dtype=torch.float64)
    visited = torch.searchsorted(level, grid[:-1]).unique().tolist()
    visited += [len(plan) - 1] * (visited[-1] < len(plan) - 1)
    errors = []
    with torch.no_grad():
        for t in visited:
            scale, noise = plan.levels[t]
            x = scale * images + noise * draw(images, generator)
            clock = torch.full((len(x),), t, device=x.device)
            errors.append((network(x, clock, scale, noise)[0] - images).abs().square().mean())
    log = torch.stack(errors).double().cpu().clamp_min(1e-300).log()
    return _interpolated(level[visited], log, level).exp()


def _interpolated(at: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """Values at the places ``wanted``, linear between those at the rising places ``at``."""
    right = torch.searchsorted(at, wanted).clamp(1, len(at) - 1)
    left = right - 1
    part = (wanted - at[left]) / (at[right] - at[left])
    return values[left] + part * (values[right] - values[left])
