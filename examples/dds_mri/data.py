"""Brain slices from installed packages: a template to train on, another subject to test on.

Training: the MNI152 T1 template of the nilearn package, an average over 152 subjects. Test: the T1
slice of one subject of the dipy package. Both are read where they are installed.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
SLICE = "data/files/t1_coronal_slice.npy"
WINDOW = (slice(24, 184), slice(48, 208))  # the brain in the test slice


class Missing(RuntimeError):
    """A package that holds the images is not installed."""


def _inside(package: str, file: str) -> Path:
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / file if spec and spec.origin else None
    if path is None or not path.exists():
        raise Missing(f"{package} with {file} is needed; 'make venv' installs it")
    return path


def template_slices() -> Tensor:
    """(slices, 1, 240, 240) in [0, 1]: axial and coronal ones with enough of the brain."""
    try:
        import nibabel
    except ImportError as error:
        raise Missing("nibabel is needed; 'make venv' installs it") from error
    image = nibabel.load(_inside("nilearn", TEMPLATE))
    volume = torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32) / 255)
    found = []
    for planes in (volume.permute(2, 1, 0), volume.permute(1, 2, 0)):  # axial, coronal
        planes = planes.flip(1)
        kept = planes[(planes > 0).float().mean((1, 2)) > 0.1]
        h, w = kept.shape[1:]
        top, left = (240 - h) // 2, (240 - w) // 2
        found.append(F.pad(kept, (left, 240 - w - left, top, 240 - h - top)))
    return torch.cat(found)[:, None].contiguous()


def test_slice() -> Tensor:
    """(160, 160) magnitudes in [0, 1]."""
    image = np.load(_inside("dipy", SLICE))[WINDOW]
    return torch.from_numpy((image / image.max()).astype(np.float32))


def toy_slices(count: int = 8) -> Tensor:
    """Discs instead of brains: for tests, and to try the pipeline without the packages."""
    place = torch.linspace(-1, 1, 240)
    rho = torch.hypot(place[:, None], place)
    rings = [(rho < r).float() * 0.6 + (rho < r / 2).float() * 0.4 for r in _radii(count)]
    return torch.stack(rings)[:, None]


def _radii(count: int) -> list[float]:
    return [0.3 + 0.6 * i / max(count - 1, 1) for i in range(count)]


class Crops:
    """Random crops with random geometry, contrast and phase: (B, 2, size, size) batches."""

    def __init__(self, slices: Tensor, size: int = 64, seed: int = 0):
        self.slices, self.size = slices, size
        self.generator = torch.Generator().manual_seed(seed)

    def _uniform(self, count: int, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=self.generator)

    def batch(self, count: int) -> Tensor:
        """``count`` crops; scales of 0.75 to 1.35, any rotation, contrast exponents 0.6 to 1.6."""
        picked = torch.randint(len(self.slices), (count,), generator=self.generator)
        images = self.slices[picked]
        angle = self._uniform(count, -math.pi, math.pi)
        share = self.size / self.slices.shape[-1] / self._uniform(count, 0.75, 1.35)
        flip = torch.randint(2, (count,), generator=self.generator) * 2.0 - 1
        c, s = angle.cos() * share, angle.sin() * share
        centre = self._uniform(2 * count, -0.5, 0.5).view(count, 2, 1)
        turn = torch.stack([torch.stack([c * flip, -s], 1), torch.stack([s * flip, c], 1)], 1)
        grid = F.affine_grid(
            torch.cat([turn, centre], 2), (count, 1, self.size, self.size), align_corners=False
        )
        crop = F.grid_sample(images, grid, align_corners=False)[:, 0].clamp(0, 1)
        crop = crop ** self._uniform(count, 0.6, 1.6).view(-1, 1, 1)
        crop = crop * self._uniform(count, 0.7, 1.0).view(-1, 1, 1)
        phase = self._phase(count)
        return torch.stack([crop * phase.cos(), crop * phase.sin()], 1)

    def _phase(self, count: int) -> Tensor:
        """A random polynomial of second degree around a random constant."""
        place = torch.linspace(-1, 1, self.size)
        y, x = place[:, None].expand(self.size, self.size), place.expand(self.size, self.size)
        terms = torch.stack([x, y, x * y, x * x, y * y])
        weights = torch.randn(count, len(terms), generator=self.generator) * 0.5
        constant = self._uniform(count, -math.pi, math.pi)
        return torch.einsum("bk,khw->bhw", weights, terms) + constant[:, None, None]
