"""The phantom and its coils."""

import math

import pytest
import torch

from subkern.imaging.phantom import birdcage_maps, phantom, shepp_logan, smooth_phase


@pytest.mark.parametrize("coils", [1, 4, 15])
@pytest.mark.parametrize("size", [24, (16, 31)])
def test_maps_have_unit_root_sum_of_squares(coils, size):
    maps = birdcage_maps(coils, size, dtype=torch.complex128)
    power = maps.abs().square().sum(1)
    assert torch.allclose(power, torch.ones_like(power), rtol=0, atol=1e-14)
    assert maps.shape[1] == coils


def test_maps_are_the_formula():
    """One pixel by hand: magnitude 1 / distance, the angle seen from the coil less its own."""
    n, coils, row, column = 8, 5, 2, 6
    maps = birdcage_maps(coils, n, dtype=torch.complex128)[0, :, row, column]
    x, y = (2 * column + 1) / n - 1, (2 * row + 1) / n - 1
    expected = []
    for c in range(coils):
        angle = 2 * math.pi * c / coils
        r = complex(x, y) - 1.5 * complex(math.cos(angle), math.sin(angle))
        expected.append(r / abs(r) ** 2 * complex(math.cos(angle), -math.sin(angle)))
    expected = torch.tensor(expected, dtype=torch.complex128)
    assert torch.allclose(maps, expected / expected.norm(), rtol=0, atol=1e-14)


def test_a_quarter_turn_permutes_four_coils():
    maps = birdcage_maps(4, 17, dtype=torch.complex128)[0].abs()
    turned = torch.rot90(maps, -1, (1, 2))  # y points down: the next coil is the next clockwise
    assert torch.allclose(turned, maps.roll(-1, 0), rtol=0, atol=1e-14)


def test_the_phantom_is_a_head_with_a_smooth_phase():
    n = 128
    image = phantom(n, strength=1.0, generator=torch.Generator().manual_seed(1))
    assert image.shape == (1, n, n)
    assert image.dtype == torch.complex64
    head = shepp_logan(n)
    assert torch.allclose(image[0].abs(), head, atol=1e-6)
    assert head[0].max() == 0
    assert head[n // 2, n // 2] == pytest.approx(0.2, abs=1e-6)
    skull = (head == 1).double().mean().item()
    assert skull == pytest.approx((0.69 * 0.92 - 0.6624 * 0.874) * math.pi / 4, rel=0.05)
    phase = smooth_phase(n, strength=1.0, generator=torch.Generator().manual_seed(1))
    assert phase.diff(dim=0).abs().max() < 8 / n


def test_the_ventricles_are_not_mirrored():
    """The larger one, of half axes 0.16 and 0.41, is on the left of the picture."""
    head = shepp_logan(256)
    dark = (head[:, :] == 0) & (torch.arange(256)[:, None].sub(128).abs() < 100)
    inner = dark[:, 60:196]
    assert inner[:, :68].sum() > 1.5 * inner[:, 68:].sum()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: birdcage_maps(0, 8), ValueError, "coils must be at least 1"),
        (lambda: birdcage_maps(1.5, 8), TypeError, "coils must be an int"),
        (lambda: birdcage_maps(2, 8, radius=1.0), ValueError, "radius must be above"),
        (lambda: birdcage_maps(2, 8, dtype=torch.float32), TypeError, "dtype must be complex"),
        (lambda: shepp_logan(0), ValueError, "size must be positive"),
        (lambda: smooth_phase(8, strength=-1.0), ValueError, "strength must be in"),
    ],
)
def test_what_cannot_be_made_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
