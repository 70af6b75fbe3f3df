"""One body for every backend: least squares against NumPy, normal equations, and its contract."""

import math

import numpy as np
import pytest
import torch
from sktest.backends import device_of
from sktest.krylov import phantom, relative, rounding, same_bits, sense
from sktest.krylov_cases import imaging, vectors
from torch._subclasses.fake_tensor import FakeTensorMode

import subkern
from subkern.imaging import Blur, Dense

OP = "cg"
pytestmark = pytest.mark.usefixtures("one_thread")
DTYPES = (torch.float32, torch.complex64, torch.float64, torch.complex128)


def tall(dtype=torch.complex64, m=14, n=6, condition=10.0):
    """(m, n) of that condition."""
    generator = torch.Generator().manual_seed(m)
    G = torch.randn(m, n, dtype=torch.complex128, generator=generator)
    Q = torch.linalg.qr(G if dtype.is_complex else G.real)[0]
    P = torch.linalg.qr(Q[:n].clone())[0]
    return ((Q * torch.logspace(0, -math.log10(condition), n)) @ P).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("damp", [0.0, 0.3])
def test_least_squares(backend, dtype, damp):
    """NumPy's solution in as many steps as there are unknowns."""
    A, y = tall(dtype), vectors(3, 14, dtype)
    device = device_of(backend)
    found = subkern.cgls(Dense(A.to(device)), y.to(device), damp=damp, maxiter=8, backend=backend)
    stacked = np.vstack([A.numpy(), damp * np.eye(6)])
    for i in range(3):
        exact = np.linalg.lstsq(stacked, np.concatenate([y[i].numpy(), np.zeros(6)]), rcond=None)
        error = float(relative(found.x[i : i + 1], torch.from_numpy(exact[0])[None]))
        assert error <= rounding(dtype, 100)
    assert found.x.dtype == dtype


@pytest.mark.parametrize("damp", [0.0, 0.7])
def test_iterates(backend, damp):
    """Those of cg on the normal equations, and of a loop in NumPy."""
    p = imaging("plane", backend)
    A, y = p.A, p.y
    wide = sense("plane", dtype=torch.complex128)
    for x0, steps in ((None, 0), (None, 1), (p.z, 1), (p.z, 6)):
        found = subkern.cgls(A, y, x0, damp=damp, maxiter=steps, backend=backend)
        assert found.iterations.tolist() == [steps] * 2
        for i in range(2):
            data = y[i : i + 1].to("cpu", torch.complex128)
            x = torch.zeros(1, 16, 16, dtype=torch.complex128)
            x = x if x0 is None else x0[i : i + 1].to("cpu", torch.complex128)
            r = data - wide.matvec(x)
            s = wide.adjoint(r) - damp**2 * x
            d, rho = s, s.norm() ** 2
            for _ in range(steps):
                q = wide.matvec(d)
                alpha = rho / (q.norm() ** 2 + damp**2 * d.norm() ** 2)
                x, r = x + alpha * d, r - alpha * q
                s = wide.adjoint(r) - damp**2 * x
                before, rho = rho, s.norm() ** 2
                d = s + rho / before * d
            scale = float(data.norm())
            assert float((found.x[i].cpu() - x).norm()) <= rounding(y.dtype, 4, 6) * scale
            left = abs(float(found.residual_norm[i]) - float(rho**0.5))
            assert left <= rounding(y.dtype, 4, 6) * scale
    Aty = A.adjoint(y)
    call = dict(maxiter=6, backend=backend)
    normal = subkern.cg(lambda v: A.normal(v) + damp**2 * v, Aty, p.z, **call)
    found = subkern.cgls(A, y, p.z, damp=damp, **call)
    assert float(relative(found.x, normal.x).max()) <= 1e-4


def test_better_than_normal_equations(backend):
    """An ill-conditioned A without damping: the condition of A counts, not its square."""
    A, device = tall(torch.float32, 40, 12, 1e3), device_of(backend)
    x = vectors(2, 12, torch.float32)
    op, y = Dense(A.to(device)), (x @ A.mT).to(device)
    call = dict(maxiter=120, backend=backend)
    by_data = subkern.cgls(op, y, **call)
    by_normal = subkern.cg(op, op.adjoint(y), **call)
    errors = [float(relative(found.x, x).max()) for found in (by_data, by_normal)]
    assert errors[0] <= rounding(torch.float32, 1e3) < errors[1]


def test_statuses(backend):
    """The contract of cg: 0 with the tolerance, 1 without, 2 at the floor, 4 where not finite."""
    device = device_of(backend)
    A, y = Dense(tall().to(device)), vectors(3, 14, device=device)
    s = A.adjoint(y).norm(dim=1)
    met = subkern.cgls(A, y, maxiter=50, rtol=1e-3, backend=backend)
    assert met.status.tolist() == [0, 0, 0]
    assert bool((A.adjoint(y - A.matvec(met.x)).norm(dim=1) <= 1.001e-3 * s).all())
    assert (met.iterations < 8).all()
    absolute = subkern.cgls(A, y, maxiter=50, atol=0.05, backend=backend)
    assert absolute.status.tolist() == [0, 0, 0]
    assert (absolute.residual_norm <= 0.05).all()
    assert subkern.cgls(A, y, maxiter=2, backend=backend).status.tolist() == [1, 1, 1]
    floor = subkern.cgls(A, y, maxiter=200, rtol=1e-12, backend=backend)
    assert floor.status.tolist() == [2, 2, 2]
    assert (floor.iterations < 60).all()
    zero = subkern.cgls(A, torch.zeros_like(y), backend=backend)
    assert zero.status.tolist() == [0, 0, 0]
    assert zero.iterations.tolist() == [0, 0, 0]
    assert same_bits(zero.x, torch.zeros_like(zero.x))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_bad_sample(backend, bad):
    p, rest = imaging("line", backend), [0]
    y, z = p.y.clone(), p.z.clone()
    y[1, 1, 4, 5] = z[1, 2, 3] = bad
    for data, x0 in ((y, p.z), (p.y, z)):
        for options in (dict(maxiter=4), dict(maxiter=20, rtol=1e-2, damp=0.1)):
            found = subkern.cgls(p.A, data, x0, backend=backend, **options)
            clean = subkern.cgls(p.A, p.y[rest], p.z[rest], backend=backend, **options)
            for got, without in zip(found, clean, strict=True):
                assert same_bits(got[rest], without)
            assert int(found.status[1]) == 4
            assert int(found.iterations[1]) == 0
            assert same_bits(found.x[1], x0[1])


@pytest.mark.parametrize("kind", ["line", "plane"])
def test_removing_a_sample(backend, kind):
    device = device_of(backend)
    A = sense(kind, 9, 11, 3, device=device)
    y = A.matvec(phantom(9, 11, 4).to(device, torch.complex64))
    call = dict(maxiter=5, damp=0.2, backend=backend)
    whole = subkern.cgls(A, y, **call)
    for kept in ([0, 1, 3], [2]):
        for part, of in zip(subkern.cgls(A, y[kept], **call), whole, strict=True):
            assert same_bits(part, of[kept])
    threads = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        threads.append(subkern.cgls(A, y, **call).x)
    assert same_bits(threads[0], threads[1])
    assert same_bits(threads[0], threads[2])


@pytest.mark.parametrize("power", [-12, -4, 4, 12])
def test_scales(backend, power):
    p, scale = imaging("plane", backend), 10.0**power
    for options in (dict(maxiter=5, damp=0.3), dict(maxiter=40, rtol=1e-3, damp=0.3)):
        plain = subkern.cgls(p.A, p.y, backend=backend, **options)
        found = subkern.cgls(p.A, p.y * scale, backend=backend, **options)
        assert found.status.tolist() == plain.status.tolist()
        assert found.iterations.tolist() == plain.iterations.tolist()
        assert float(relative(found.x / scale, plain.x).max()) <= rounding(p.y.dtype, 12)


def test_other_operators(backend):
    """Real images through a blur, whose data are as large as they are."""
    device = device_of(backend)
    x = phantom(16, 12, 2).abs().float().to(device)
    A = Blur(torch.tensor([[0.1, 0.6, 0.2]], device=device), (16, 12))
    found = subkern.cgls(A, A.matvec(x), maxiter=60, backend=backend)
    assert float(relative(found.x, x).max()) <= rounding(x.dtype, 25)


def test_inputs(backend):
    """Not written; strided and conjugate ones give the same bits; no gradients are recorded."""
    p = imaging("plane", backend)
    y, z = p.y.clone(), p.z.clone()
    plain = subkern.cgls(p.A, y, z, maxiter=4, backend=backend)
    assert same_bits(y, p.y)
    assert same_bits(z, p.z)
    for view in (y.conj().resolve_conj().conj(), y.mT.contiguous().mT):
        strided = subkern.cgls(p.A, view, z.mT.contiguous().mT, maxiter=4, backend=backend)
        assert same_bits(strided.x, plain.x)
    found = subkern.cgls(p.A, y.requires_grad_(), z, maxiter=4, backend=backend)
    assert not found.x.requires_grad
    assert same_bits(found.x, plain.x)


def test_reads_and_empty_batches(backend):
    p = imaging("line", backend)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        found = subkern.cgls(p.A, mode.from_tensor(p.y), maxiter=3, rtol=1e-3, backend=backend)
        assert found.x.shape == p.z.shape
    calls = []

    class Counted(Dense):
        def matvec(self, x):
            calls.append(1)
            return super().matvec(x)

    A, y = Counted(tall().to(p.z.device)), vectors(2, 14, device=p.z.device)
    plain = subkern.cgls(A, y, maxiter=50, rtol=1e-2, backend=backend)
    assert len(calls) == 50
    found = subkern.cgls(A, y, maxiter=50, rtol=1e-2, check_every=1, backend=backend)
    assert len(calls) - 50 == int(plain.iterations.max())
    assert all(map(same_bits, found, plain))
    empty = subkern.cgls(A, y[:0], backend=backend)
    assert empty.x.shape == (0, 6)
    assert empty.status.shape == (0,)
