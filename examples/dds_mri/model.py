"""A small U-Net that removes noise of any level from two-channel images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIGMA_DATA = 0.35  # standard deviation of each channel of a clean image, about


class Block(nn.Module):
    """Two convolutions beside a shortcut, steered by the noise level.

    Without normalization: at this size it hides from the network how strong the noise is, and costs
    hundreds of steps before the loss starts to fall.
    """

    def __init__(self, inputs: int, outputs: int, level: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.level = nn.Linear(level, 2 * outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.kaiming_normal_(self.conv1.weight)
        nn.init.kaiming_normal_(self.conv2.weight)
        with torch.no_grad():
            self.conv2.weight *= 0.3

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        h = self.conv1(F.silu(x))
        scale, shift = self.level(level)[:, :, None, None].chunk(2, 1)
        h = self.conv2(F.silu(h * (1 + scale) + shift))
        return self.skip(x) + h


class UNet(nn.Module):
    """Three resolutions from half of the image's on, 0.36 million parameters.

    Four neighbouring pixels enter as channels: at full resolution most of the time would go into
    a few of the parameters. Sides of images are multiples of 8.
    """

    def __init__(self, widths: tuple[int, int, int] = (32, 48, 64), level: int = 64):
        super().__init__()
        a, b, c = widths
        self.register_buffer("waves", torch.randn(level // 2, generator=_seeded()) * 0.4)
        self.embed = nn.Sequential(nn.Linear(level, level), nn.SiLU(), nn.Linear(level, level))
        self.enter = nn.Conv2d(8, a, 3, padding=1)
        self.down = nn.ModuleList([Block(a, a, level), Block(a, b, level), Block(b, c, level)])
        self.middle = Block(c, c, level)
        self.up = nn.ModuleList([Block(c + b, b, level), Block(b + a, a, level)])
        self.leave = nn.Sequential(nn.SiLU(), nn.Conv2d(a, 8, 3, padding=1))
        nn.init.kaiming_normal_(self.enter.weight, nonlinearity="linear")
        nn.init.zeros_(self.leave[-1].weight)

    def forward(self, x: Tensor, log_level: Tensor) -> Tensor:
        phase = 2 * math.pi * log_level[:, None] * self.waves
        level = self.embed(torch.cat([phase.sin(), phase.cos()], 1))
        fine = self.down[0](self.enter(F.pixel_unshuffle(x, 2)), level)
        half = self.down[1](F.avg_pool2d(fine, 2), level)
        h = self.middle(self.down[2](F.avg_pool2d(half, 2), level), level)
        h = self.up[0](torch.cat([F.interpolate(h, scale_factor=2), half], 1), level)
        h = self.up[1](torch.cat([F.interpolate(h, scale_factor=2), fine], 1), level)
        return F.pixel_shuffle(self.leave(h), 2)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class Denoiser(nn.Module):
    """Image plus noise of a known level -> image, with the scalings of Karras et al. (2022)."""

    def __init__(self, **options):
        super().__init__()
        self.net = UNet(**options)

    def forward(self, noisy: Tensor, level: Tensor) -> Tensor:
        """(B, 2, H, W) and (B,) -> (B, 2, H, W)."""
        s = level[:, None, None, None]
        total = (s.square() + SIGMA_DATA**2).sqrt()
        out = self.net(noisy / total, level.log() / 4)
        return noisy * (SIGMA_DATA / total).square() + out * s * SIGMA_DATA / total

    def loss(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Squared error, weighted so that every noise level counts alike."""
        s = level[:, None, None, None]
        found = self(clean + s * noise, level)
        weight = (s.square() + SIGMA_DATA**2) / (s * SIGMA_DATA).square()
        return (weight * (found - clean).square()).mean()


class OnSchedule:
    """The denoiser as the sampler calls it: (x_t, t) -> x0, two channels in and out."""

    def __init__(self, model: Denoiser, schedule):
        self.model = model.eval()
        self.schedule = schedule
        self.scale, self.noise = schedule.scale.float(), schedule.noise.float()

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        scale, noise = self.scale[t], self.noise[t]
        return self.model(x / scale[:, None, None, None], noise / scale)
