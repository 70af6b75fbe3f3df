"""One body for every backend: who leaves and who enters, by Python's own sort."""

import math

import numpy as np
import pytest
import torch
from sktest.backends import device_of, is_simulated

import subkern

OP = "update_mask"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIZES = [2, 3, 64, 65, 1000, 20_011, 150_007]


def make(n, density, dtype, backend, kind="normal"):
    generator = torch.Generator().manual_seed(n)
    made = torch.randn(2, n, generator=generator)
    if kind == "ties":
        made = (made * 2).round() / 2
    elif kind == "equal":
        made = torch.full((2, n), -1.5)
    elif kind == "nan":
        made[torch.rand(2, n, generator=generator) < 0.1] = math.nan
        made[torch.rand(2, n, generator=generator) < 0.02] = -math.inf
        made[torch.rand(2, n, generator=generator) < 0.02] = math.inf
    mask = torch.rand(n, generator=generator) < density
    return made.to(device_of(backend), dtype), mask.to(device_of(backend))


def truth(remove, add, mask, count):
    """By NumPy's sort of (score, index); NaN is minus infinity."""

    def best(score, among, sign):
        number = np.nan_to_num(sign * score, nan=sign * -np.inf, posinf=np.inf, neginf=-np.inf)
        places = np.flatnonzero(among)
        order = np.lexsort((places, -number[places]))
        return np.sort(places[order[:count]])

    remove, add = (t.double().cpu().numpy() for t in (remove, add))
    mask = mask.cpu().numpy()
    return best(remove, mask, -1).tolist(), best(add, ~mask, 1).tolist()


def check(remove, add, mask, count, backend):
    before = [t.clone() for t in (remove, add, mask)]
    found = subkern.update_mask(remove, add, mask, count, backend=backend)
    removed, added = truth(remove.flatten(), add.flatten(), mask.flatten(), count)
    assert found.removed.tolist() == removed
    assert found.added.tolist() == added
    expected = mask.flatten().clone()
    expected[removed], expected[added] = False, True
    assert found.mask.shape == mask.shape
    assert found.mask.is_contiguous()
    assert torch.equal(found.mask.flatten(), expected)
    assert found.mask.sum() == mask.sum()
    for t, old in zip((remove, add, mask), before, strict=True):
        assert torch.equal(t.nan_to_num(7.0), old.nan_to_num(7.0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["normal", "ties", "equal", "nan"])
def test_swaps(backend, kind, density, dtype):
    for n in SIZES[:-2] if is_simulated(backend) else SIZES:
        (remove, add), mask = make(n, density, DTYPES[dtype], backend, kind)
        most = min(int(mask.sum()), n - int(mask.sum()))
        for count in sorted({0, min(1, most), most // 3, most}):
            check(remove, add, mask, count, backend)


def test_shapes_and_strides(backend):
    (remove, add), mask = make(6000, 0.3, torch.float32, backend)
    shaped = (t.view(60, 100) for t in (remove, add, mask))
    remove, add, mask = shaped
    check(remove, add, mask, 100, backend)
    check(remove.mT, add.mT, mask.mT, 100, backend)
    check(remove[:, ::2], add[:, 1::2], mask[:, ::2], 100, backend)
    check(remove, remove, mask, 100, backend)
    check(remove[:1].expand(60, 100), add, mask, 100, backend)


def test_clustered_masks(backend):
    """All of one side in one place: what a sample must not be fooled by."""
    n = 4000 if is_simulated(backend) else 200_000
    (remove, add), _ = make(n, 0.5, torch.float32, backend)
    place = torch.arange(n, device=remove.device)
    for mask in (place < n // 20, place >= n - n // 20, place % 64 == 0):
        check(remove, add, mask, n // 100, backend)
        check(remove.sort().values, add.sort().values, mask, n // 100, backend)


def test_nothing_to_swap(backend):
    for n in (0, 5):
        (remove, add), _ = make(n, 0.5, torch.float32, backend)
        for mask in (torch.zeros(n, dtype=torch.bool), torch.ones(n, dtype=torch.bool)):
            check(remove, add, mask.to(remove.device), 0, backend)


@pytest.mark.parametrize(("density", "where"), [(0.1, "inside"), (0.9, "outside")])
def test_more_than_there_is_raises(density, where):
    (remove, add), mask = make(1000, density, torch.float32, "cpu")
    most = min(int(mask.sum()), 1000 - int(mask.sum()))
    for name in ("reference", None):
        with pytest.raises(ValueError, match=rf"^update_mask: n_swap .*{where}.*\({most}\), got"):
            subkern.update_mask(remove, add, mask, most + 1, backend=name)


def test_other_dtypes_go_to_the_reference():
    (remove, add), mask = make(1000, 0.4, torch.float64, "cpu")
    check(remove, add, mask, 50, None)


def test_numpy_in_numpy_out():
    (remove, add), mask = make(100, 0.4, torch.float32, "cpu")
    found = subkern.update_mask(remove.numpy(), add.numpy(), mask.numpy(), 7)
    removed, added = truth(remove, add, mask, 7)
    assert found.removed.tolist() == removed
    assert found.added.tolist() == added
    assert found.mask.dtype == bool


def test_fake_keeps_shapes():
    score = torch.ones(4, 3, device="meta")
    found = subkern.update_mask(score, score, score.bool(), 2)
    assert [t.shape for t in found] == [(4, 3), (2,), (2,)]
    assert [t.dtype for t in found] == [torch.bool, torch.int64, torch.int64]
