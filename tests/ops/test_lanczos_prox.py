"""One body for every backend: one Krylov space, many weights, against cg_prox and dense solves."""

import math

import pytest
import torch
from sktest.backends import device_of
from sktest.krylov import matrix, phantom, relative, rounding, same_bits, sense
from sktest.krylov_cases import chain, imaging, ring, vectors
from torch._subclasses.fake_tensor import FakeTensorMode

import subkern
from subkern.imaging import Dense

OP = "cg"
pytestmark = pytest.mark.usefixtures("one_thread")
WEIGHTS = (1.0, 3.0, 10.0, 30.0, 100.0)


def data_residual(p, x):
    """(samples,): ||A x - y||, in float64."""
    return (p.A.matvec(x) - p.y).flatten(1).to("cpu", torch.complex128).norm(dim=1)


@pytest.mark.parametrize("kind", ["line", "plane"])
@pytest.mark.parametrize("M", [1, 5, 10])
def test_equals_cg_prox(backend, kind, M):
    """To 2e-6, for weights from 1 to 100 out of one space."""
    p = imaging(kind, backend)
    space = subkern.lanczos_prox(p.A, p.z, p.A.adjoint(p.y), M, backend=backend)
    for gamma in WEIGHTS:
        exact = subkern.cg_prox(p.A, p.z, p.y, gamma=gamma, maxiter=M, backend=backend)
        assert float(relative(space.solve(gamma), exact.x).max()) <= 2e-6, gamma
    assert space.T.shape == (2, M, M)
    assert space.beta.shape == (2, M + 1)
    assert space.solve(1.0).dtype == p.z.dtype


def test_weights_per_sample(backend):
    p = imaging("plane", backend)
    space = subkern.lanczos_prox(p.A, p.z, y=p.y, M=8, backend=backend)
    for dtype in (torch.float32, torch.float64):
        found = space.solve(torch.tensor([2.0, 50.0], dtype=dtype, device=p.z.device))
        assert same_bits(found[0], space.solve(2.0)[0])
        assert same_bits(found[1], space.solve(50)[1])
    assert same_bits(space.solve(torch.tensor(2.0)), space.solve(2.0))
    assert same_bits(space.solve(0.0), p.z)


@pytest.mark.parametrize("gamma", [2.0, 10.0, 80.0])
def test_residuals(backend, gamma):
    """residual and data_residual are those of the solution, computed directly."""
    p = imaging("line", backend, gamma)
    space = subkern.lanczos_prox(p.A, p.z, y=p.y, M=4, backend=backend)
    x = space.solve(gamma)
    left = p.residual(x).norm(dim=1)
    slack = rounding(p.z.dtype, 1)
    assert bool(((space.residual(gamma).cpu() - left).abs() <= slack * p.b.norm(dim=1)).all())
    assert bool((left > 100 * slack * p.b.norm(dim=1)).all())
    direct = data_residual(p, x)
    size = p.y.flatten(1).norm(dim=1).cpu()
    assert bool(((space.data_residual(gamma).cpu() - direct).abs() <= 10 * slack * size).all())
    assert space.residual(gamma).dtype == space.data_residual(gamma).dtype == torch.float64


def test_discrepancy(backend):
    """Each sample gets the weight at which its data are met to its own target."""
    p = imaging("line", backend)
    space = subkern.lanczos_prox(p.A, p.z, y=p.y, M=12, backend=backend)
    first, last = space.data_residual(1e-3), space.data_residual(1e3)
    assert (first > 2 * last).all()
    for part in (0.2, 0.6):
        target = last + part * (first - last) * torch.tensor([1.0, 0.5], device=last.device)
        x, gamma = space.discrepancy(target)
        assert gamma.shape == (2,)
        assert bool(((data_residual(p, x) / target.cpu() - 1).abs() <= 1e-4).all())
        assert float(relative(x, space.solve(gamma)).max()) <= 1e-6
        again, weights = space.discrepancy(float(target[0]))
        assert float((weights[0] / gamma[0]).log().abs()) <= 1e-3
        assert float(relative(again[:1], x[:1])) <= 1e-4
    # Out of reach: the nearest bound.
    _, most = space.discrepancy(0.0, high=500.0)
    _, least = space.discrepancy(2 * first, low=0.5)
    assert torch.allclose(most.cpu(), torch.full((2,), 500.0, dtype=torch.float64))
    assert torch.allclose(least.cpu(), torch.full((2,), 0.5, dtype=torch.float64))


def few_values(values, n=24):
    """v -> N v, diagonal, with these eigenvalues alone."""
    d = torch.tensor(values).repeat(n)[:n]
    return lambda v: v * d.to(v.device, v.real.dtype)


@pytest.mark.parametrize("reorthogonalize", [True, False])
@pytest.mark.parametrize("values", [(1.0,), (0.0, 2.0), (0.5, 1.5, 3.0)], ids=str)
def test_exhausted_space(backend, values, reorthogonalize):
    """An invariant subspace after as many steps as there are eigenvalues: the exact solution."""
    device = device_of(backend)
    z, Aty = vectors(2, device=device), vectors(2, device=device, seed=3)
    op = few_values(values)
    call = dict(reorthogonalize=reorthogonalize, backend=backend)
    space = subkern.lanczos_prox(op, z, Aty, 9, **call)
    if reorthogonalize:
        assert (space.beta[:, len(values) + 1 :] == 0).all(), "rounding was taken for a direction"
    for gamma in (0.5, 40.0):
        d = torch.tensor(values).repeat(24)[:24].to(torch.complex128)
        exact = (z.cpu() + gamma * Aty.cpu()) / (1 + gamma * d)
        error = float(relative(space.solve(gamma), exact).max())
        assert error <= rounding(z.dtype, 1 + gamma * max(values)), gamma
        assert bool((space.residual(gamma).cpu() <= 1e-5 * gamma * Aty.cpu().norm(dim=1)).all())


def test_nothing_to_do(backend):
    """Data that agree, and a mask of zeros: z, for every weight, without 0/0."""
    device = device_of(backend)
    z = phantom(16, 16, 2).to(device, torch.complex64)
    zero = sense("zero", device=device)
    space = subkern.lanczos_prox(zero, z, torch.zeros_like(z), 5, backend=backend)
    for gamma in (0.0, 1.0, 1e6):
        assert same_bits(space.solve(gamma), z)
        assert space.residual(gamma).tolist() == [0.0, 0.0]
    assert (space.T == 0).all()
    y = zero.matvec(z)
    by_data = subkern.lanczos_prox(zero, z, y=y, M=3, backend=backend)
    assert by_data.data_residual(3.0).tolist() == [0.0, 0.0]
    x, _ = by_data.discrepancy(1.0)
    assert same_bits(x, z)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_bad_sample(backend, bad):
    """NaN there, and the others without a bit changed."""
    p, rest = imaging("plane", backend), [0]
    z, y = p.z.clone(), p.y.clone()
    for v in (z, y):
        v[1, ..., 2, 3] = bad
    for centre, data in ((z, p.y), (p.z, y)):
        space = subkern.lanczos_prox(p.A, centre, y=data, M=6, backend=backend)
        clean = subkern.lanczos_prox(p.A, p.z[rest], y=p.y[rest], M=6, backend=backend)
        target = clean.data_residual(4.0)[0] * torch.ones(2, device=p.z.device)
        found, expected = space.discrepancy(target), clean.discrepancy(target[rest])
        pairs = [*zip(found, expected, strict=True), (space.T, clean.T), (space.beta, clean.beta)]
        pairs += [(s(3.0), c(3.0)) for s, c in ((space.solve, clean.solve),)]
        pairs += [(space.residual(3.0), clean.residual(3.0))]
        pairs += [(space.data_residual(3.0), clean.data_residual(3.0))]
        for got, without in pairs:
            assert same_bits(got[rest], without)
        assert not bool(space.solve(3.0)[1].isfinite().all())
        assert bool(space.residual(3.0)[1].isnan())


def test_indefinite(backend):
    """I + gamma N that is not positive has no minimum: NaN, and not a number that looks good."""
    device = device_of(backend)
    z, Aty = vectors(2, device=device), vectors(2, device=device, seed=3)
    space = subkern.lanczos_prox(few_values((1.0, -0.5)), z, Aty, 4, backend=backend)
    assert bool(space.solve(1.0).isfinite().all())
    assert bool(space.solve(4.0).isnan().all())


def test_removing_a_sample(backend):
    b, Aty = vectors(4, 99, device=device_of(backend)), vectors(4, 99, device=device_of(backend))
    whole = subkern.lanczos_prox(ring, b, 2 * Aty, 6, backend=backend)
    for kept in ([0, 2, 3], [1]):
        part = subkern.lanczos_prox(ring, b[kept], 2 * Aty[kept], 6, backend=backend)
        assert same_bits(part.T, whole.T[kept])
        assert same_bits(part.solve(7.0), whole.solve(7.0)[kept])
        assert same_bits(part.residual(7.0), whole.residual(7.0)[kept])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128], ids=str)
def test_dtypes(dtype):
    """Real vectors, and double precision."""
    op = ring if dtype.is_complex else chain
    z, Aty = (vectors(2, dtype=dtype, seed=s) for s in (0, 4))
    space = subkern.lanczos_prox(op, z, Aty, 24, backend="reference")
    N = matrix(op, z[:1].to(torch.complex128))[0]
    b = (z + 5.0 * Aty).to(torch.complex128)
    exact = torch.linalg.inv(torch.eye(24) + 5.0 * N) @ b.mT
    assert space.solve(5.0).dtype == dtype
    assert float(relative(space.solve(5.0), exact.mT).max()) <= rounding(dtype, 25)


def test_space(backend):
    """T has the extreme eigenvalues of N within its own, and falls to them as M grows."""
    p = imaging("plane", backend)
    N = (p.H - torch.eye(256)) / p.gamma
    top = torch.linalg.eigvalsh(N)[:, -1]
    before = torch.zeros(2, dtype=torch.float64)
    for M in (2, 6, 20):
        T = subkern.lanczos_prox(p.A, p.z, y=p.y, M=M, backend=backend).T.cpu()
        values = torch.linalg.eigvalsh(T)
        assert bool((values[:, -1] <= top * (1 + 1e-5)).all())
        assert bool((values[:, 0] >= -1e-5).all())
        assert bool((values[:, -1] >= before).all())
        before = values[:, -1] - 1e-6
    assert bool((before >= 0.99 * top).all())


def test_long_recurrence_needs_orthogonality(backend):
    """Reorthogonalized, many steps are no worse than few; either way the small ones agree."""
    device = device_of(backend)
    A = Dense(torch.diag(torch.logspace(-2, 1, 24)).to(device))
    z, Aty = (vectors(1, dtype=torch.float32, device=device, seed=s) for s in (0, 4))
    exact = (z + 50.0 * Aty).cpu().double() / (1 + 50.0 * torch.logspace(-4, 2, 24).double())
    kept = subkern.lanczos_prox(A, z, Aty, 24, backend=backend).solve(50.0)
    assert float(relative(kept, exact)) <= rounding(z.dtype, 5001)
    short = [
        subkern.lanczos_prox(A, z, Aty, 3, reorthogonalize=flag, backend=backend).solve(0.1)
        for flag in (True, False)
    ]
    assert float(relative(short[0], short[1])) <= rounding(z.dtype, 11)


def test_the_handle_keeps_what_it_needs(backend):
    """Neither the caller's tensors nor the operator's next mask reach a space that is built."""
    p, device = imaging("line", backend), device_of(backend)
    A = sense("line", device=device)
    z, y = p.z.clone(), p.y.clone()
    space = subkern.lanczos_prox(A, z, y=y, M=5, backend=backend)
    before = [space.solve(3.0), space.residual(3.0), space.data_residual(3.0)]
    z.zero_()
    y.zero_()
    A.update(mask=torch.ones(16, device=device))
    after = [space.solve(3.0), space.residual(3.0), space.data_residual(3.0)]
    assert all(map(same_bits, before, after))


def test_needs_the_data(backend):
    p = imaging("line", backend)
    space = subkern.lanczos_prox(p.A, p.z, p.A.adjoint(p.y), 3, backend=backend)
    for call in (lambda: space.data_residual(1.0), lambda: space.discrepancy(1.0)):
        with pytest.raises(ValueError, match="lanczos_prox: y must be given"):
            call()
    both = subkern.lanczos_prox(p.A, p.z, p.A.adjoint(p.y), 3, y=p.y, backend=backend)
    assert same_bits(both.solve(2.0), space.solve(2.0))
    assert both.data_residual(2.0).shape == (2,)


@pytest.mark.parametrize("shape", [(0, 24), (2, 0), (1, 1)], ids=str)
def test_shapes(backend, shape):
    z = torch.ones(shape, device=device_of(backend))
    space = subkern.lanczos_prox(lambda v: 2 * v, z, 3 * z, 4, backend=backend)
    assert torch.allclose(space.solve(1.0), z * 4 / 3)
    assert space.residual(1.0).shape == shape[:1]


def test_fake_tensors(backend):
    """Nothing is read by the host, by the weights' algebra either."""
    p = imaging("plane", backend)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        z, y = mode.from_tensor(p.z), mode.from_tensor(p.y)
        space = subkern.lanczos_prox(p.A, z, y=y, M=4, backend=backend)
        x, gamma = space.discrepancy(1.0)
        assert space.solve(2.0).shape == x.shape == z.shape
        assert space.residual(2.0).shape == gamma.shape == (2,)


def test_inputs(backend):
    """Not written; other strides and conjugate views give the same bits; no gradients."""
    device = device_of(backend)
    z, Aty = vectors(2, device=device), vectors(2, device=device, seed=3)
    kept = [z.clone(), Aty.clone()]
    plain = subkern.lanczos_prox(ring, z, Aty, 4, backend=backend).solve(2.0)
    assert all(map(same_bits, kept, (z, Aty)))
    view = Aty.conj().resolve_conj().conj()
    assert view.is_conj()
    strided = subkern.lanczos_prox(ring, z.mT.contiguous().mT, view, 4, backend=backend)
    assert same_bits(strided.solve(2.0), plain)
    z.requires_grad_()
    found = subkern.lanczos_prox(ring, z, Aty, 4, backend=backend).solve(2.0)
    assert not found.requires_grad
    assert same_bits(found, plain)
