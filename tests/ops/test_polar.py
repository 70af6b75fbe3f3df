"""One body for every backend: polar factors against their accuracy contract."""

import numpy as np
import pytest
import torch
from sktest import linalg
from sktest.backends import device_of

import subkern
from subkern.bench import polar_coefficients
from subkern.bench.gallery import gallery, nonfinite
from subkern.reference.polar_table import STEPS

OP = "polar"
SHAPES = [(1, 1), (5, 4), (9, 7), (16, 16), (33, 33), (64, 8)]


def run(X, backend, **options):
    return subkern.polar(X.to(device_of(backend)), backend=backend, **options)


def geometric(m, n, condition):
    """(matrix, its polar factor) with a geometric spectrum, float64."""
    generator = torch.Generator().manual_seed(m + n)
    k = min(m, n)
    U, V = (
        torch.linalg.qr(torch.randn(rows, k, generator=generator).double())[0] for rows in (m, n)
    )
    s = condition ** -(torch.arange(k) / (k - 1)).double()
    return (U * s) @ V.mT, U @ V.mT


def products(backend):
    """Precisions of the products; bfloat16 and float16 are slow where they are emulated."""
    return [torch.float32] if backend == "reference" else [torch.float32, torch.bfloat16]


def test_table_is_what_the_script_derives():
    derived = polar_coefficients.table()
    assert set(derived) == set(STEPS)
    for name, steps in derived.items():
        assert np.allclose(np.array(STEPS[name]), np.array(steps), rtol=1e-8, atol=0.0), name


def test_minimax_alternates():
    """The error of the best polynomial takes its largest size four times."""
    step, error = polar_coefficients.minimax(0.05, 1.7)
    x = np.linspace(0.05, 1.7, 100001)
    off = 1 - polar_coefficients.apply(step, x)
    assert np.abs(off).max() == pytest.approx(error, rel=1e-6)
    peaks = off[np.abs(off) > error * (1 - 1e-7)]
    assert int((np.sign(peaks[1:]) != np.sign(peaks[:-1])).sum()) == 3


@pytest.mark.parametrize("preset", STEPS)
def test_steps_bring_every_value_to_one(preset):
    low, tolerance = {"direction": (1e-3, 0.16), "orthogonal": (1e-7, 1e-6)}[preset]
    x = np.geomspace(low, 1.0, 100001)
    for step in STEPS[preset]:
        x = polar_coefficients.apply(step, x)
        assert x.max() < 2.1
    assert np.abs(x - 1).max() < tolerance


@pytest.mark.parametrize("form", ["standard", "gram"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_direction(backend, shape, form):
    g = gallery(*shape)
    for dtype in products(backend):
        if form == "gram" and dtype == torch.bfloat16:
            dtype = torch.float16
        if min(shape) > 9 and dtype != torch.float32 and device_of(backend) == "cpu":
            continue  # slow without units for them
        linalg.check_polar_direction(g, run(g.batch, backend, form=form, dtype=dtype))


def test_direction_cosine(backend):
    """512 x 1024 with condition 1e3, wide and tall: both forms, every precision."""
    X, exact = geometric(512, 1024, 1e3)
    for form, dtype in (("standard", torch.float32), ("gram", torch.float32)):
        for x, truth in ((X, exact), (X.mT, exact.mT)):
            Q = run(x.float(), backend, form=form, dtype=dtype).cpu().double()
            cosine = (Q * truth).sum() / (Q.norm() * truth.norm())
            assert cosine >= 0.94, (form, dtype, float(cosine))


@pytest.mark.parametrize("shape", [(5, 4), (16, 16), (33, 33), (64, 8)], ids=str)
def test_orthogonal(backend, shape):
    g = gallery(*shape, families=("spectrum",), conditions=(1.0, 2.0, 1e2, 1e4, 1e6))
    s = torch.linalg.svdvals(g.truth)
    kept = {name for name, v in zip(g.names, s, strict=True) if v[-1] >= 0.9e-6 * v[0]}
    assert len(kept) > 20
    g = g.pick(kept.__contains__)
    linalg.check_polar_orthogonal(g, run(g.batch, backend, preset="orthogonal"))


def test_zero_scales_and_what_is_empty(backend):
    X, _ = geometric(6, 9, 10.0)
    X = X.float()
    for preset in STEPS:
        plain = run(X, backend, preset=preset)
        for scale in (2.0**-100, 2.0**100):
            assert torch.equal(run(X * scale, backend, preset=preset), plain)
        for scale in (1e-30, 1e30):
            assert torch.allclose(run(X * scale, backend, preset=preset), plain, atol=1e-5)
        batch = torch.stack([torch.zeros(6, 9), X])
        got = run(batch, backend, preset=preset)
        assert not got[0].any()
        assert torch.equal(got[1], plain)
        for shape in ((0, 3, 4), (2, 0, 3), (2, 3, 0)):
            assert run(torch.empty(shape), backend, preset=preset).shape == shape


def test_one_bad_matrix_stays_alone(backend):
    for preset in STEPS:
        for case in list(nonfinite(5, 9))[::5]:
            if backend == "reference":  # its batched products are torch's
                got = run(case.batch, backend, preset=preset)
                assert got.isfinite().flatten(1).all(1).sum() == 4
                assert got[case.position].isnan().all()
            else:
                linalg.check_poisoned(lambda b, p=preset: (run(b, backend, preset=p),), case)


def test_layouts_and_batches(backend):
    X = torch.randn(2, 3, 20, 30, generator=torch.Generator().manual_seed(1))
    got = run(X, backend)
    assert got.shape == X.shape
    assert got.is_contiguous()
    for view in (X.mT.contiguous().mT, X[:, :, ::2, 1:]):
        assert torch.allclose(run(view, backend), run(view.contiguous(), backend), atol=1e-5)
    assert torch.allclose(run(X.mT, backend), got.mT, atol=1e-5)
    if backend == "cpu":
        linalg.check_alone(lambda b: (run(b, backend),), X[0], (0, 2))
        torch.set_num_threads(1)
        assert torch.equal(run(X, backend), got)


def test_bfloat16_input_and_float64(backend):
    X, _ = geometric(12, 20, 50.0)
    Q = run(X.bfloat16(), backend, preset="orthogonal")
    assert Q.dtype == torch.float32
    linalg.check_polar_orthogonal(linalg.as_gallery(X.bfloat16().unsqueeze(0)), Q.unsqueeze(0))
    if backend == "reference":
        Q = run(X, backend, preset="orthogonal")
        assert Q.dtype == torch.float64
        assert (Q @ Q.mT - torch.eye(12)).abs().max() < 1e-12


def test_steps(backend):
    """Fewer steps are the first of all steps."""
    X = 0.3 * torch.eye(4)
    got = run(X, backend, steps=1, form="standard")
    exact = polar_coefficients.apply(STEPS["direction"][0], 0.5)  # 0.3 / ||X||_F
    assert torch.allclose(got.cpu(), torch.eye(4) * exact, atol=1e-5)


def test_many(backend):
    generator = torch.Generator().manual_seed(2)
    shapes = [(6, 4), (4, 6), (6, 4), (8, 8)]
    Xs = [torch.randn(s, generator=generator).to(device_of(backend)) for s in shapes]
    many = subkern.polar_many(Xs, backend=backend)
    for X, Q in zip(Xs, many, strict=True):
        assert torch.allclose(Q, subkern.polar(X, backend=backend), atol=1e-5)
    assert subkern.polar_many([]) == []


def test_opcheck():
    options = dict(preset="direction", steps=None, form="auto", dtype=None, backend="")
    X = torch.randn(2, 6, 4)
    torch.library.opcheck(torch.ops.subkern.polar.default, (X,), options)


def test_nothing_is_read_by_the_host():
    """The composed implementation runs on tensors without data."""
    from torch._subclasses import FakeTensorMode

    from subkern.backends.composed.polar import polar

    with FakeTensorMode():
        for form, preset in (("standard", "orthogonal"), ("gram", "direction")):
            X = torch.empty(2, 30, 70, device="cuda")
            Q = polar(X, preset=preset, steps=None, form=form, dtype=None)
            assert Q.shape == X.shape
            assert Q.device.type == "cuda"
