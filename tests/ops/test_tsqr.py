"""tsqr on the gallery, and on real process groups of two and three processes."""

import pytest
import torch
import torch.distributed as dist
from sktest import sharded_cases
from sktest.linalg import check_qr, same_bits

import subkern
from subkern.bench.gallery import Gallery, gallery
from subkern.reference import tsqr as reference

EPS = 2.0**-23
SHAPES = [(1, 1), (2, 1), (5, 4), (17, 13), (64, 8), (127, 5)]
CASES = [f"{shape} {name}" for shape in sharded_cases.TSQR for name in sharded_cases.MATRICES]
COUNTS = [
    pytest.param(n, marks=pytest.mark.skipif(not dist.is_available(), reason="no distributed"))
    for n in (2, 3)
]


def factored(batch, **options):
    """(Q, R, info) of each matrix of a batch."""
    found = [subkern.tsqr(y, info=True, **options) for y in batch]
    return tuple(map(torch.stack, zip(*found, strict=True)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("method", ["cholesky", "tree"])
def test_gallery_on_one_rank(method, shape):
    g = gallery(*shape, conditions=(1e2, 1e7, 1e10))
    Q, R, info = factored(g.batch, method=method)
    check_qr(g, Q, R)
    assert not (info & 1).any()
    assert info[g.index("normal")] == 0
    fallen = (info & 8) != 0
    assert bool(fallen[g.index("zero")]) == (method == "cholesky")


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e30, float("inf")])
def test_scales(scale):
    g = gallery(64, 8, conditions=(1e2, 1e7)).scaled(scale)
    check_qr(g, *factored(g.batch)[:2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_dtypes(dtype):
    g = gallery(64, 8, conditions=(1e2, 1e7), dtype=dtype)
    Q, R, info = factored(g.batch)
    check_qr(g, Q, R)
    assert bool((info & 8 == 0).all()) or dtype != torch.float64  # nothing fell back from the tree


@pytest.mark.parametrize("method", ["cholesky", "tree"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_said(bad, method):
    Y = torch.ones(6, 2)
    Y[4, 1] = bad
    Q, R, info = subkern.tsqr(Y, method=method, info=True)
    assert Q.isnan().all()
    assert R.isnan().all()
    assert int(info) == 1
    with pytest.raises(torch.linalg.LinAlgError, match=r"tsqr: .* not finite"):
        subkern.tsqr(Y, method=method, check=True)


def joined(results, case):
    """(Q of all rows, R and info of each rank)."""
    parts = [r[case] for r in results]
    return torch.cat([p[0] for p in parts]), [p[1] for p in parts], [p[2] for p in parts]


@pytest.mark.parametrize("method", ["cholesky", "tree"])
@pytest.mark.parametrize("shape", sharded_cases.TSQR)
@pytest.mark.parametrize("count", COUNTS)
def test_ranks_agree_and_meet_the_contract(count, shape, method):
    """The same bits of R on every rank; Q and R of all rows as good as those of one process."""
    results = sharded_cases.solved(count)
    m, k, _ = sharded_cases.TSQR[shape]
    for name in sharded_cases.MATRICES if k < 64 else sharded_cases.MATRICES[:1]:
        case = f"tsqr {shape} {name} {method}"
        Q, Rs, infos = joined(results, case)
        assert all(bool(same_bits(R[None], Rs[0][None]).all()) for R in Rs), case
        assert len({int(i) for i in infos}) == 1, case
        if name == "nan" and k:
            assert Q.isnan().all(), case
            assert int(infos[0]) == 1, case
            continue
        whole = Gallery((name,), ("sharded",), sharded_cases.tall(m, k, name)[None])
        check_qr(whole, Q[None], Rs[0][None])
        parts = [r[case][0].shape[0] for r in results]
        shards = sharded_cases.tall(m, k, name).double().split(parts)
        exact, R, info = reference.tsqr(shards)
        _, _, alone = sharded_cases.solved(1)[0][case]
        assert int(infos[0]) & 2 == int(alone) & 2, case
        if name == "normal":  # Q and R of full rank are unique
            assert int(info) == 0, case
            assert (Rs[0] - R).norm() <= 100 * EPS * R.norm(), case
            for part, want in zip((r[case][0] for r in results), exact, strict=True):
                bound = 1000 * EPS * max(k, 1) ** 0.5  # times condition
                assert (part - want).norm() <= bound, case


def test_bits_of_info():
    """Full rank 0; dependent columns 2, and 8 where the tree replaced Cholesky."""
    alone = sharded_cases.solved(1)[0]
    for method, extra in (("cholesky", 8), ("tree", 0)):
        assert int(alone[f"tsqr uneven normal {method}"][2]) == 0
        assert int(alone[f"tsqr uneven deficient {method}"][2]) == 2 + extra
        assert int(alone[f"tsqr uneven zero {method}"][2]) == 2 + extra


def test_input_is_not_changed():
    Y = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    kept = Y.clone()
    subkern.tsqr(Y)
    subkern.tsqr(Y, method="tree")
    assert torch.equal(Y, kept)
