"""Sampling masks: what is promised, what is reached, and where the points lie."""

import math

import pytest
import torch

from subkern.imaging import masks

KINDS = ("uniform1d", "gaussian1d", "gaussian2d", "vd_poisson")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 64), (48, 61)])
@pytest.mark.parametrize("acceleration", [1, 2.5, 4, 8])
def test_without_replacement_the_acceleration_is_met(kind, size, acceleration):
    drawn = getattr(masks, kind)(size, acceleration, generator=seeded(), centre_fraction=0.08)
    assert drawn.mask.shape == (1, 1, *size)
    assert drawn.mask.dtype == torch.float32
    assert set(drawn.mask.unique().tolist()) <= {0.0, 1.0}
    places = size[1] if kind.endswith("1d") else size[0] * size[1]
    assert abs(drawn.fraction - 1 / acceleration) <= 0.5 / places + 1e-12
    assert drawn.fraction == pytest.approx(drawn.mask.double().mean().item(), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_the_same_mask_and_another_seed_another(kind):
    draw = lambda seed: getattr(masks, kind)(64, 4, generator=seeded(seed)).mask  # noqa: E731
    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


@pytest.mark.parametrize("kind", KINDS)
def test_the_centre_is_always_sampled(kind):
    n, fraction = 50, 0.1
    mask = getattr(masks, kind)(n, 8, centre_fraction=fraction, generator=seeded()).mask[0, 0]
    middle = slice(n // 2 - 2, n // 2 - 2 + 5)
    rows = slice(None) if kind.endswith("1d") else middle
    assert bool((mask[rows, middle] == 1).all())


@pytest.mark.parametrize("kind", ["uniform1d", "gaussian1d"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_lines_are_constant_along_the_other_axis(kind, axis):
    drawn = getattr(masks, kind)((40, 56), 4, axis=axis, generator=seeded())
    mask = drawn.mask[0, 0]
    other = 1 - axis % 2
    assert torch.equal(mask, mask.narrow(other, 0, 1).expand_as(mask))
    assert 0 < mask.sum() < mask.numel()


def test_draws_with_replacement_miss_the_nominal_acceleration():
    """Expected numbers of distinct places, by the formula for draws with replacement."""
    n, x, seeds = 320, 4, 200
    found = [
        1 / masks.uniform1d(n, x, replace=True, generator=seeded(s)).fraction for s in range(seeds)
    ]
    centre = round(0.08 * n)
    drawn = round(n / x) - centre
    expected = centre + (n - centre) * (1 - (1 - 1 / n) ** drawn)
    assert sum(found) / seeds == pytest.approx(n / expected, rel=0.01)
    assert n / expected > 4.4


def test_released_masks_reach_what_the_released_code_reaches():
    def mean(kind, **options):
        drawn = [
            getattr(masks, kind)(320, generator=seeded(s), compatibility="released", **options)
            for s in range(60)
        ]
        return 60 / sum(m.fraction for m in drawn)

    assert mean("uniform1d", acceleration=4) == pytest.approx(4.5, abs=0.1)
    assert mean("gaussian2d", acceleration=8) == pytest.approx(11.5, abs=0.1)


def test_gaussian_points_have_the_density_asked_for():
    n, std = 128, 0.1
    total = sum(masks.gaussian2d(n, 64, std=std, generator=seeded(s)).mask[0, 0] for s in range(40))
    place = torch.arange(n, dtype=torch.float64) - n // 2
    count = total.sum().item()
    for axis in (0, 1):
        spread = ((total.sum(axis) * place.square()).sum() / count).sqrt().item()
        # Without replacement the middle fills up and the spread grows, here by some per cent.
        assert std * n * 0.98 < spread < std * n * 1.2


def test_poisson_points_keep_their_distance_and_thin_out():
    n, x = 96, 6
    mask = masks.vd_poisson(n, x, centre_fraction=0.0, generator=seeded()).mask[0, 0]
    points = mask.nonzero().double()
    rho = ((points - n // 2) / (n / 2)).norm(dim=1)
    nearest = (torch.cdist(points, points) + 1e9 * torch.eye(len(points))).min(1).values
    outer = nearest[(rho > 0.8) & (rho < 1)]
    inner = nearest[rho < 0.2]
    assert outer.min() > inner.min()
    assert outer.mean() > 1.5 * inner.mean()
    # Points dropped at random would leave neighbours next to each other far out.
    assert outer.min() >= 2


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: masks.uniform1d(64, 0.5), ValueError, "acceleration must be in"),
        (lambda: masks.uniform1d("a", 2), TypeError, "size must be an int"),
        (lambda: masks.uniform1d((0, 4), 2), ValueError, "size must be positive"),
        (lambda: masks.uniform1d(64, 20, centre_fraction=0.5), ValueError, "leave room"),
        (lambda: masks.uniform1d(64, 2, axis=2), ValueError, "axis must be"),
        (lambda: masks.uniform1d(64, 2, replace=1), TypeError, "replace must be"),
        (lambda: masks.gaussian1d(64, 2, std=0.0), ValueError, "std must be positive"),
        (lambda: masks.gaussian1d(64, 2, centre_fraction=2), ValueError, "centre_fraction"),
        (lambda: masks.gaussian2d(64, 2, generator=1), TypeError, "generator must be"),
        (lambda: masks.gaussian2d(64, 2, compatibility="paper"), ValueError, "compatibility"),
        (lambda: masks.vd_poisson(64, math.nan), ValueError, "acceleration must be in"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
