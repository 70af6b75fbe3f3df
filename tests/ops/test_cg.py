"""One body for every backend: conjugate gradients against dense solves and textbook loops."""

import numpy as np
import pytest
import torch
from sktest import krylov_properties as properties
from sktest.backends import device_of, is_simulated
from sktest.krylov import matrix, relative, rounding, same_bits, textbook
from sktest.krylov_cases import SHARED, chain, imaging, kinds, ring, vectors

import subkern
from subkern.imaging import Dense

OP = "cg"
pytestmark = pytest.mark.usefixtures("one_thread")
DTYPES = (torch.float32, torch.complex64, torch.float64, torch.complex128)


def from_centre(backend, **options):
    """A solver of proximal problems that forms the right-hand side itself, and starts at z."""

    def solve(A, z, y, gamma, steps):
        b = z + gamma * A.adjoint(y)
        call = dict(gamma=gamma, maxiter=steps, backend=backend, **options)
        return subkern.cg(A, b, z, **call).x

    return solve


@pytest.mark.parametrize("kind", [*SHARED, "per-sample", "per-sample-plane"])
def test_properties(backend, kind):
    """P1 and P3 to P6 on imaging problems, P9 against the dense solve in complex128."""
    if kind not in kinds(backend):
        pytest.skip("two kinds of mask are enough where kernels are interpreted")
    p, solve = imaging(kind, backend), from_centre(backend)
    properties.solution(solve, p)
    if kind == "zero":  # z is the solution: there is no step to look at
        return
    properties.first_step(solve, p)
    properties.convergence(solve, p)
    properties.descent(solve, p)
    if kind != "full":  # solved before there are five residuals
        properties.orthogonal_residuals(solve, p)
    if kind in SHARED:
        properties.copies(solve, p)


def test_twelve_steps(backend):
    """P2: a random Hermitian matrix of 12 x 12 is solved in 12 steps."""
    generator = torch.Generator().manual_seed(3)
    G = torch.randn(12, 12, dtype=torch.complex128, generator=generator)
    A = torch.linalg.cholesky(G @ G.mH / 12 + 0.5 * torch.eye(12), upper=True)
    b = vectors(3, 12)
    exact = torch.linalg.solve(A.mH @ A, b.to(torch.complex128).mT).mT
    device = device_of(backend)
    found = subkern.cg(Dense(A.to(device, torch.complex64)), b.to(device), maxiter=12)
    assert float(relative(found.x, exact).max()) <= 1e-5
    assert found.x.device.type == device


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("gamma", [None, 0.7])
def test_iterates(backend, dtype, gamma):
    """Every iterate is the textbook's, sample by sample, in real and complex dtypes."""
    b, x0 = vectors(3, dtype=dtype), vectors(3, dtype=dtype, seed=5)
    device = device_of(backend)
    if dtype.itemsize // (2 if dtype.is_complex else 1) == 8 and backend != "reference":
        with pytest.raises(subkern.BackendUnavailableError, match="float32 and complex64"):
            subkern.cg(chain, b.to(device), backend=backend)
        return
    N = matrix(ring if dtype.is_complex else chain, b[:1].to(torch.complex128))[0]
    H = N if gamma is None else torch.eye(24) + gamma * N
    wide = [v.to(torch.complex128) for v in (b, x0)]
    for i in range(3):
        exact = list(textbook(lambda v: H @ v, wide[0][i], wide[1][i], 6))
        for k in (0, 1, 2, 6):
            found = subkern.cg(
                *(ring if dtype.is_complex else chain, b.to(device), x0.to(device)),
                gamma=gamma,
                maxiter=k,
                backend=backend,
            )
            error = float(relative(found.x[i : i + 1], exact[k][None]))
            assert error <= rounding(dtype, 9, max(k, 1)), (i, k)
            assert found.x.dtype == dtype
            assert found.status.tolist() == [1, 1, 1]
            assert found.iterations.tolist() == [k] * 3


def test_scipy(backend):
    """SciPy's solver at convergence and after as many steps."""
    linalg = pytest.importorskip("scipy.sparse.linalg", reason="SciPy is not installed")
    b, device = vectors(1), device_of(backend)
    N = matrix(ring, b.to(torch.complex128))[0].numpy()
    for steps in (3, 40):
        exact, _ = linalg.cg(N, b[0].numpy().astype(np.complex128), rtol=1e-13, maxiter=steps)
        found = subkern.cg(ring, b.to(device), maxiter=steps, backend=backend)
        error = float(relative(found.x, torch.from_numpy(exact)[None]))
        assert error <= rounding(b.dtype, 5), steps


def test_preconditioner(backend):
    """Jacobi on a dense matrix, against the same loop in NumPy, and fewer steps by it."""
    generator, device = torch.Generator().manual_seed(0), device_of(backend)
    G = torch.randn(30, 20, generator=generator) * torch.logspace(0, 1.5, 20)
    A, b = Dense(G.to(device)), vectors(2, 20, torch.float32)
    N = (G.double().mT @ G.double()).numpy()
    inverse = torch.from_numpy(1 / N.diagonal()).float().to(device)

    for steps in (1, 4, 9):
        found = subkern.cg(
            A, b.to(device), maxiter=steps, precond=lambda r: r * inverse, backend=backend
        )
        for i in range(2):
            x, r = np.zeros(20), b[i].double().numpy()
            z = r / N.diagonal()
            p, rho = z, r @ z
            for _ in range(steps):
                q = N @ p
                x, r = x + rho / (p @ q) * p, r - rho / (p @ q) * q
                z = r / N.diagonal()
                p, rho = z + (r @ z) / rho * p, r @ z
            # The system that the loop sees is the scaled one, whose condition is small.
            scale = N.diagonal() ** 0.5
            condition = np.linalg.cond(N / np.outer(scale, scale))
            error = np.linalg.norm(scale * (found.x[i].cpu().numpy() - x))
            assert error <= rounding(b.dtype, condition, steps) * np.linalg.norm(scale * x)

    call = dict(rtol=1e-4, maxiter=300, backend=backend)
    plain = subkern.cg(A, b.to(device), **call)
    jacobi = subkern.cg(A, b.to(device), precond=lambda r: r * inverse, **call)
    assert (jacobi.status == 0).all()
    assert (jacobi.iterations < plain.iterations).all()
    same = subkern.cg(A, b.to(device), precond=lambda r: r, **call)
    assert (same.status == plain.status).all()


def test_preconditioner_that_is_not_positive(backend):
    """Status 3 at once, with x where it was; NaN from a preconditioner is status 4."""
    device = device_of(backend)
    b, x0 = (vectors(2, device=device, seed=s) for s in (0, 9))
    for factor, status in ((-1.0, 3), (0.0, 3), (torch.nan, 4)):
        found = subkern.cg(ring, b, x0, precond=lambda r, f=factor: r * f, backend=backend)
        assert found.status.tolist() == [status] * 2
        assert found.iterations.tolist() == [0, 0]
        assert same_bits(found.x, x0)


def test_replaced_residual(backend):
    """Restarted at every step, conjugate gradients are steepest descent."""
    device = device_of(backend)
    b, steps = vectors(2), 5
    N = matrix(ring, b[:1].to(torch.complex128))[0]
    found = subkern.cg(ring, b.to(device), maxiter=steps, replace_every=1, backend=backend)
    for i in range(2):
        x, r = torch.zeros(24, dtype=torch.complex128), b[i].to(torch.complex128)
        for _ in range(steps):
            q = N @ r
            x = x + (torch.vdot(r, r) / torch.vdot(r, q)) * r
            r = b[i].to(torch.complex128) - N @ x
        assert float(relative(found.x[i : i + 1], x[None])) <= rounding(b.dtype, 5, steps)
    exact = torch.linalg.solve(N, b.to(torch.complex128).mT).mT
    often = subkern.cg(ring, b.to(device), maxiter=60, replace_every=7, backend=backend)
    assert float(relative(often.x, exact).max()) <= rounding(b.dtype, 5)


def test_replaced_residual_that_is_zero(backend):
    """x is exact although the recursion does not say so: met the tolerance, no bad curvature."""

    def coarse(v):  # hits b without a rounding error as soon as x is close
        return (1.3 * v).half().float()

    b = coarse(vectors(2, 5, torch.float32, device_of(backend)))
    plain = subkern.cg(coarse, b, maxiter=3, backend=backend)
    assert (plain.residual_norm > 0).all(), "the recursion itself ends at zero"
    found = subkern.cg(coarse, b, maxiter=9, replace_every=1, info=True, backend=backend)
    assert found.status.tolist() == [0, 0]
    assert found.residual_norm.tolist() == [0.0, 0.0]
    assert (found.iterations.cpu() < 9).all()


def test_coupling_all(backend):
    """One system for the whole batch: its iterates are those of the stacked vector."""
    device = device_of(backend)
    b = vectors(3)
    N = torch.block_diag(*[matrix(ring, b[:1].to(torch.complex128))[0]] * 3)
    wide = b.to(torch.complex128).flatten()
    *_, exact = textbook(lambda v: N @ v, wide, torch.zeros_like(wide), 4)
    found = subkern.cg(ring, b.to(device), maxiter=4, coupling="all", backend=backend)
    assert float(relative(found.x.reshape(1, -1), exact[None])) <= rounding(b.dtype, 5, 4)
    assert found.status.tolist() == [1, 1, 1]
    assert (found.residual_norm == found.residual_norm[0]).all()
    one = subkern.cg(ring, b[:1].to(device), maxiter=4, coupling="all", backend=backend)
    apart = subkern.cg(ring, b[:1].to(device), maxiter=4, backend=backend)
    assert same_bits(one.x, apart.x)


@pytest.mark.parametrize("coupling", ["sample", "row", "all"])
def test_true_residuals(backend, coupling):
    """info=True reports what is left of b, not what the recursion believes."""
    p, device = imaging("line", backend), device_of(backend)
    b = p.b.view(p.z.shape).to(device, p.z.dtype)
    for steps in (0, 2, 30):
        found = subkern.cg(
            *(p.A, b),
            gamma=p.gamma,
            maxiter=steps,
            coupling=coupling,
            info=True,
            backend=backend,
        )
        left = (p.flat(b) - (p.H @ p.flat(found.x)[:, :, None])[:, :, 0]).norm(dim=1)
        left = left.norm().expand(2) if coupling == "all" else left
        # The residual is a difference of numbers of the size of b.
        allowed = 1e-5 * left + rounding(b.dtype, 1) * p.b.norm(dim=1)
        assert bool(((found.residual_norm.cpu() - left).abs() <= allowed).all()), steps
        assert found.residual_norm.dtype == torch.float64


def test_residuals_of_the_recursion(backend):
    """Without info they are close to the true ones as long as those are large."""
    p = imaging("plane", backend)
    b = p.b.view(p.z.shape).to(p.z.device, p.z.dtype)
    found = subkern.cg(p.A, b, gamma=p.gamma, maxiter=4, backend=backend)
    left = (p.flat(b) - (p.H @ p.flat(found.x)[:, :, None])[:, :, 0]).norm(dim=1)
    off = (found.residual_norm.cpu() - left).abs()
    assert bool((off <= 1e-3 * left).all())


def test_large_image(backend):
    """More numbers than torch sums in one go; a few steps suffice to see every kernel's tail."""
    n = 1_037 if is_simulated(backend) else 70_001
    b, device = vectors(2, n), device_of(backend)
    found = subkern.cg(ring, b.to(device), maxiter=3, backend=backend)
    for i in range(2):
        wide = b[i].to(torch.complex128)
        *_, exact = textbook(ring, wide, torch.zeros_like(wide), 3)
        assert float(relative(found.x[i : i + 1], exact[None])) <= rounding(b.dtype, 5, 3)
