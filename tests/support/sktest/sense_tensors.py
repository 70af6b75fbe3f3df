"""Images, maps and weights for the kernels of multi-coil imaging, and sizes to test them at."""

from __future__ import annotations

import torch

from sktest.backends import device_of, is_simulated

EPS = torch.finfo(torch.float32).eps
# Rows, points: every radix alone and with others, strips that are not full, one row.
LINES = [(1, 2), (3, 3), (5, 5), (2, 4), (17, 8), (33, 45), (7, 16), (16, 20), (19, 48), (4, 150)]
LONG = [(20, 320), (16, 256), (9, 384), (3, 729), (2, 1000), (2, 1024)]


def make(shape, line, backend, *, images=2, map_sets=1, weight_sets=1, coils=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    h, w = shape
    lengths = (w,) if line else (h, w)

    def draw(*size):
        return torch.randn(size, dtype=torch.complex64, generator=generator).to(device_of(backend))

    maps = draw(map_sets, coils, h, w) / coils**0.5
    weights = torch.rand(weight_sets, *lengths, generator=generator).to(device_of(backend))
    gamma = (3 * torch.rand(images, generator=generator)).to(device_of(backend))
    return draw(images, h, w), maps, weights, gamma


def wide(*tensors):
    return [
        t if t is None else t.to(torch.complex128 if t.is_complex() else torch.float64)
        for t in tensors
    ]


def sizes(backend, small, large):
    return small if is_simulated(backend) else [*small, *large]
