"""Errors of complex images: no rescaling, no cropping of ranges."""

from __future__ import annotations

import math
import time

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(x: Tensor, truth: Tensor) -> float:
    """In dB, of the complex error against the largest magnitude of the truth."""
    error = float((x - truth).abs().square().mean())
    return 10 * math.log10(float(truth.abs().max()) ** 2 / error)


def nrmse(x: Tensor, truth: Tensor) -> float:
    """||x - truth|| / ||truth||, complex."""
    return float((x - truth).norm() / truth.norm())


def ssim(x: Tensor, truth: Tensor) -> float:
    """Structural similarity of magnitudes in Gaussian windows of 1.5 pixels (Wang et al., 2004)."""
    place = torch.arange(11.0) - 5
    window = (-place.square() / (2 * 1.5**2)).exp()
    window = window / window.sum()
    kernel = (window[:, None] * window)[None, None]
    a, b = (v.abs().reshape(1, 1, *v.shape[-2:]) for v in (x, truth))
    mean = lambda v: F.conv2d(v, kernel)  # noqa: E731
    ma, mb = mean(a), mean(b)
    va, vb, both = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = (float(b.max()) * 0.01) ** 2, (float(b.max()) * 0.03) ** 2
    found = (2 * ma * mb + c1) * (2 * both + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return float(found.mean())


def residual(A, x: Tensor, y: Tensor, sigma: float) -> float:
    """||A x - y|| over the norm of the noise: 1 is what the truth would have."""
    count = float((y != 0).sum())
    return float((A.matvec(x) - y).norm()) / (sigma * math.sqrt(count))


class Stopwatch:
    """Seconds spent in a function that it wraps."""

    def __init__(self, function):
        self.function, self.seconds = function, 0.0

    def __call__(self, *args):
        started = time.perf_counter()
        found = self.function(*args)
        self.seconds += time.perf_counter() - started
        return found
