"""The gallery holds what its names say, and what float32 can hold of it."""

import itertools
import math

import pytest
import torch

from subkern.bench import gallery as module
from subkern.bench.gallery import SCALES, SHAPES, drifting, gallery, gradient, nonfinite

SMALL = [shape for shape in SHAPES if shape[0] * shape[1] <= 4096]


@pytest.mark.parametrize(("m", "n"), SMALL, ids=lambda v: str(v))
def test_matrices_of_a_shape(m, n):
    g = gallery(m, n)
    assert len(set(g.names)) == len(g.names) == len(g.families) == g.batch.shape[0]
    assert g.batch.shape[1:] == (m, n)
    assert g.batch.isfinite().all()
    assert g.batch.abs().max() <= 1
    assert torch.equal(g.truth.float(), g.batch)
    assert torch.equal(gallery(m, n).batch, g.batch), "not seeded"
    zero = g.batch.flatten(1).eq(0).all(1).nonzero().flatten().tolist()
    # Tiny shapes leave nothing of some structures.
    assert [g.names[i] for i in zero][:1] == ["zero"] or min(m, n) == 1


def test_spectra_have_their_conditions():
    g = gallery(64, 8, families=("spectrum",))
    s = torch.linalg.svdvals(g.truth)
    for condition in (2.0, 1e2, 1e4, 1e6):
        label = module._label(condition)
        for name in ("one-large", "one-small", "geometric", "arithmetic", "log-uniform"):
            at = g.index(f"{name}-{label}")
            assert float(s[at, 0] / s[at, -1]) == pytest.approx(condition, rel=0.1), name
        for name in ("staircase", "plateau"):
            at = g.index(f"{name}-{label}")
            assert float(s[at, 0] / s[at, -1]) == pytest.approx(condition, rel=0.2), name
    rank = torch.linalg.svdvals(g.matrix("exact-rank").double())
    assert rank[3] > 0.1 * rank[0] / 2
    assert rank[4] < 1e-6 * rank[0]


def test_structures_are_what_they_are_called():
    g = gallery(12, 6, families=("structured",))
    a = {name: g.matrix(name).double() for name in g.names}
    assert torch.linalg.matrix_rank(a["integer-rank"]) == 3
    assert torch.linalg.matrix_rank(a["duplicate-columns"]) == 3
    assert int((a["zero-column-middle"] == 0).all(0).sum()) == 1
    assert int((a["zero-row"] == 0).all(1).sum()) == 1
    assert int((a["one-entry"] != 0).sum()) == 1
    assert torch.equal(a["permutation"].T @ a["permutation"], torch.eye(6).double())
    lauchli = torch.linalg.cond(a["lauchli"])
    assert 1e6 < lauchli < 1e8
    assert torch.linalg.cond(a["bad-for-cholesky"]) > 1e6
    columns = a["graded-columns"].norm(dim=0)
    assert 1e7 < columns[0] / columns[-1] < 1e9
    assert torch.allclose(a["orthonormal"].T @ a["orthonormal"], torch.eye(6).double(), atol=1e-6)


def test_scales_and_subnormals():
    g = gallery(9, 7)
    for scale in SCALES:
        scaled = g.scaled(scale)
        assert scaled.batch.isfinite().all(), scale
        assert scaled.batch.abs().max() > 0
    largest = g.scaled(math.inf).matrix("identity x inf").max()
    assert float(largest) == pytest.approx(3e38 / 9)
    small = g.matrix("subnormal")
    assert ((small != 0) & (small.abs() < torch.finfo(torch.float32).tiny)).all()
    assert len(g.pick(lambda name: name.startswith("geometric")).names) == 7


def test_rounded_to_bfloat16():
    g, exact = gallery(9, 7, dtype=torch.bfloat16), gallery(9, 7)
    assert g.batch.dtype == torch.bfloat16
    assert g.names == exact.names
    assert torch.equal(g.batch, exact.batch.bfloat16())


def test_large_matrices_are_few():
    assert gallery(1000, 257).batch.shape[0] < gallery(9, 7).batch.shape[0]


def test_nonfinite_batches():
    cases = list(nonfinite(5, 4))
    assert len(cases) == 12
    for case in cases:
        bad = ~case.batch.isfinite().flatten(1).all(1)
        assert bad.nonzero().flatten().tolist() == [case.position]
        assert case.others.shape[0] == 4
        assert case.others.isfinite().all()


def test_gradients():
    g = gradient(40, 60, seed=1)
    assert float(g.norm()) == pytest.approx((40 * 60) ** 0.5, rel=1e-4)
    s = torch.linalg.svdvals(g)
    assert s[0] > 3 * s[20], "the spectrum decays"
    assert not torch.equal(g, gradient(40, 60, seed=2))


@pytest.mark.parametrize("drift", [0.1, 0.5, 1.0])
def test_drift_is_as_large_as_asked(drift):
    matrices = list(drifting(30, 50, drift, seed=3))
    assert len(matrices) == 10
    for a, b in itertools.pairwise(matrices):
        angle = torch.atan(torch.tensor(drift))
        cosine = float((a * b).sum() / (a.norm() * b.norm()))
        assert cosine == pytest.approx(float(torch.cos(angle)), abs=0.15)
