"""Noise schedules of diffusion models: x_t = scale_t x_0 + noise_t e, e of unit variance.

The noise has unit variance in every real number, so a complex pixel's has variance 2: that is what
two-channel networks are trained with.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from subkern.ops._checks import check_number, check_tensor


@dataclass(frozen=True, eq=False)
class Schedule:
    """How much image and noise there is at each of T times.

    Attributes:
        scale: (T,) float64 on the CPU, of the image.
        noise: (T,) float64 on the CPU, standard deviation of each real number's noise; it grows
            with t relative to the scale.
        levels: (scale, noise) at each time, as numbers.
    """

    scale: Tensor
    noise: Tensor
    levels: tuple[tuple[float, float], ...]

    def __len__(self) -> int:
        return len(self.scale)

    def steps(self, count: int) -> list[int]:
        """``count`` times from T - 1 down to 0, both included, evenly spaced up to rounding.

        Example:
            >>> vp(timesteps=10).steps(4)
            [9, 6, 3, 0]
        """
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"steps: count must be an int, got {type(count).__name__}")
        if not 2 <= count <= len(self):
            raise ValueError(f"steps: count must be in [2, {len(self)}], got {count}")
        last = len(self) - 1
        return [round(last * (count - 1 - i) / (count - 1)) for i in range(count)]


def _checked(op: str, scale: Tensor, noise: Tensor) -> Schedule:
    ratio = noise / scale
    if not bool((scale > 0).all() & (noise > 0).all() & torch.isfinite(ratio).all()):
        raise ValueError(f"{op}: the schedule must have positive, finite scales and noise")
    if not bool((ratio.diff() > 0).all()):
        raise ValueError(f"{op}: the schedule must have noise that grows with t")
    return Schedule(scale, noise, tuple(zip(scale.tolist(), noise.tolist(), strict=True)))


def vp(
    alphas_cumprod: Tensor | Sequence[float] | None = None,
    *,
    timesteps: int = 1000,
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
) -> Schedule:
    """Variance preserving: scale_t = sqrt(a_t), noise_t = sqrt(1 - a_t) (Ho et al., 2020).

    Args:
        alphas_cumprod: a_t, falling, in (0, 1); None multiplies 1 - beta_t up, beta linear in t.
        timesteps: T, if ``alphas_cumprod`` is None.
        beta_start: beta at t = 0.
        beta_end: beta at t = T - 1.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or value.

    Example:
        >>> round(vp().noise[-1].item(), 4)
        1.0
    """
    if alphas_cumprod is None:
        _timesteps("vp", timesteps)
        check_number("vp", "beta_start", beta_start, 0.0, 1.0)
        check_number("vp", "beta_end", beta_end, 0.0, 1.0)
        beta = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
        a = (1 - beta).cumprod(0)
    else:
        a = torch.as_tensor(alphas_cumprod, dtype=torch.float64, device="cpu").detach()
        if a.dim() != 1 or len(a) < 2:
            raise ValueError(
                f"vp: alphas_cumprod must have shape (T,) with T at least 2, got {tuple(a.shape)}"
            )
    return _checked("vp", a.clamp_min(0).sqrt(), (1 - a).clamp_min(0).sqrt())


def ve(*, timesteps: int = 1000, sigma_min: float = 0.01, sigma_max: float = 378.0) -> Schedule:
    """Variance exploding: scale 1, noise_t geometric (Song et al., 2021).

    Args:
        timesteps: T.
        sigma_min: noise at t = 0.
        sigma_max: noise at t = T - 1; about the largest distance between two images.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or value.

    Example:
        >>> [round(n, 4) for n in ve(timesteps=3, sigma_min=0.01, sigma_max=1.0).noise.tolist()]
        [0.01, 0.1, 1.0]
    """
    _timesteps("ve", timesteps)
    check_number("ve", "sigma_min", sigma_min)
    check_number("ve", "sigma_max", sigma_max)
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"ve: sigma_min must be in (0, {sigma_max}), got {sigma_min}")
    low, high = math.log(sigma_min), math.log(sigma_max)
    noise = torch.linspace(low, high, timesteps, dtype=torch.float64).exp()
    return _checked("ve", torch.ones_like(noise), noise)


def _timesteps(op: str, timesteps: int) -> None:
    if isinstance(timesteps, bool) or not isinstance(timesteps, int):
        raise TypeError(f"{op}: timesteps must be an int, got {type(timesteps).__name__}")
    if timesteps < 2:
        raise ValueError(f"{op}: timesteps must be at least 2, got {timesteps}")


def as_schedule(op: str, schedule: Schedule | str | Tensor) -> Schedule:
    """A schedule, by name, or from the a_t of a variance-preserving one."""
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, str):
        if schedule not in ("vp", "ve"):
            raise ValueError(f"{op}: schedule must be 'vp', 've' or a Schedule, got {schedule!r}")
        return vp() if schedule == "vp" else ve()
    if isinstance(schedule, Tensor):
        check_tensor(op, "schedule", schedule)
        return vp(schedule)
    raise TypeError(
        f"{op}: schedule must be a name, a Schedule or alphas_cumprod, "
        f"got {type(schedule).__name__}"
    )


def step_list(op: str, steps: int | Sequence[int], schedule: Schedule) -> list[int]:
    """Times to visit, falling, t = 0 the last of them."""
    if isinstance(steps, int) and not isinstance(steps, bool):
        if not 2 <= steps <= len(schedule):
            raise ValueError(f"{op}: steps must be in [2, {len(schedule)}], got {steps}")
        return schedule.steps(steps)
    if isinstance(steps, (str, bool)) or not isinstance(steps, Sequence):
        raise TypeError(f"{op}: steps must be an int or a list of times, got {steps!r}")
    times = list(steps)
    if not times or any(isinstance(t, bool) or not isinstance(t, int) for t in times):
        raise TypeError(f"{op}: steps must hold ints, got {steps!r}")
    if any(later >= t for t, later in itertools.pairwise(times)):
        raise ValueError(f"{op}: steps must fall, got {steps!r}")
    if times[0] >= len(schedule) or times[-1] < 0:
        raise ValueError(f"{op}: steps must be in [0, {len(schedule) - 1}], got {steps!r}")
    return times if times[-1] == 0 else [*times, 0]
