"""One body for every backend: proximal steps, and doubles with known defects that must fail."""

import math

import pytest
import torch
from sktest import krylov_doubles as doubles
from sktest import krylov_properties as properties
from sktest.backends import device_of
from sktest.krylov import KINDS, birdcage, mask, phantom, relative, rounding, same_bits, sense
from sktest.krylov_cases import SHARED, imaging, kinds, ring, vectors

import subkern
from subkern.imaging import CartesianSense, FourierMask

OP = "cg"
pytestmark = pytest.mark.usefixtures("one_thread")
CHECKS = {
    "P1": properties.first_step,
    "P3": properties.convergence,
    "P4": properties.descent,
    "P5": properties.orthogonal_residuals,
    "P9": properties.solution,
}


def solver(backend, **options):
    def solve(A, z, y, gamma, steps):
        call = dict(gamma=gamma, maxiter=steps, backend=backend, **options)
        return subkern.cg_prox(A, z, y, **call).x

    return solve


@pytest.mark.parametrize("kind", KINDS)
def test_properties(backend, kind):
    """P1, P3 to P6 and P9, as for cg with a right-hand side."""
    if kind not in kinds(backend):
        pytest.skip("two kinds of mask are enough where kernels are interpreted")
    p, solve = imaging(kind, backend), solver(backend)
    properties.solution(solve, p)
    if kind == "zero":
        return
    for name in ("P1", "P3", "P4") + (("P5",) if kind != "full" else ()):
        CHECKS[name](solve, p)
    if kind in SHARED:
        properties.copies(solve, p)


def test_fixed_point(backend):
    """E0: the truth explains its data, and stays."""
    properties.fixed_point(solver(backend), device_of(backend))


@pytest.mark.parametrize("kind", ["line", "plane"])
def test_doubles(kind):
    """What the checks are for: each defect fails its own, and the loop without one passes all."""
    p = imaging(kind, "reference")
    for check in CHECKS.values():
        check(doubles.sound, p)
    properties.fixed_point(doubles.sound)
    with pytest.raises(AssertionError, match="error after"):
        properties.convergence(doubles.unconjugated, p, steps=10)
    for name in ("P1", "P4", "P5", "P9"):
        with pytest.raises(AssertionError):
            CHECKS[name](doubles.unconjugated, p)
    with pytest.raises(AssertionError, match="the truth moved"):
        properties.fixed_point(doubles.turned)
    with pytest.raises(AssertionError):
        properties.solution(doubles.turned, p)


@pytest.mark.parametrize("gamma", [0.1, 5.0, 60.0])
def test_weights(backend, gamma):
    """Small and large weights, against the dense solve."""
    p = imaging("line", backend, gamma)
    properties.solution(solver(backend), p, steps=80)


def test_data_or_its_projection(backend):
    """Y and A* y give the same bits, and those of cg on what they stand for up to rounding."""
    p = imaging("plane", backend)
    Aty = p.A.adjoint(p.y)
    call = dict(gamma=p.gamma, maxiter=6, backend=backend)
    by_data = subkern.cg_prox(p.A, p.z, p.y, **call)
    assert all(map(same_bits, by_data, subkern.cg_prox(p.A, p.z, Aty=Aty, **call)))
    formed = subkern.cg(p.A, p.z + p.gamma * Aty, p.z, **call)
    assert float(relative(by_data.x, formed.x).max()) <= rounding(p.z.dtype, p.condition, 6)


def test_fourier_oracle(backend):
    """One coil of ones: the step in closed form, by an operator that needs no iterations."""
    device = device_of(backend)
    m = mask("plane", 16, 16, 2).to(device)
    F = FourierMask(m[:, 0].float())
    A = CartesianSense(torch.ones(1, 1, 16, 16, dtype=torch.complex64, device=device), m)
    z, y = phantom(16, 16, 2).to(device, torch.complex64), vectors(2, 256, device=device)
    y = y.view(2, 16, 16)
    weights = torch.tensor([0.5, 30.0], device=device)
    exact = F.prox(z, y, weights)
    found = subkern.cg_prox(A, z, y[:, None], gamma=weights, maxiter=20, backend=backend)
    assert float(relative(found.x, exact).max()) <= rounding(z.dtype, 31)
    plain = subkern.cg_prox(F, z, y, gamma=weights, maxiter=20, backend=backend)
    assert float(relative(plain.x, exact).max()) <= rounding(z.dtype, 31)


@pytest.mark.parametrize("coupling", ["sample", "row", "all"])
def test_nothing_to_do(backend, coupling):
    """A mask of zeros, a weight of zero, and data that agree already: x is z, bit for bit."""
    device = device_of(backend)
    z = phantom(16, 16, 2).to(device, torch.complex64)
    y = torch.ones(2, 4, 16, 16, dtype=torch.complex64, device=device)
    call = dict(coupling=coupling, backend=backend)
    for options in (dict(), dict(rtol=1e-4), dict(maxiter=0)):
        for kind, gamma in (("zero", 7.0), ("line", 0.0)):
            A = sense(kind, device=device)
            found = subkern.cg_prox(A, z, y, gamma=gamma, **call, **options)
            assert same_bits(found.x, z), (kind, options)
            assert found.status.tolist() == [0, 0]
            assert found.iterations.tolist() == [0, 0]
            assert found.residual_norm.tolist() == [0.0, 0.0]


def test_gamma_of_zero_for_some(backend):
    p = imaging("line", backend)
    weights = torch.tensor([0.0, p.gamma], device=p.z.device)
    for coupling in ("sample", "row"):
        call = dict(coupling=coupling, maxiter=6, backend=backend)
        found = subkern.cg_prox(p.A, p.z, p.y, gamma=weights, **call)
        assert same_bits(found.x[0], p.z[0])
        other = subkern.cg_prox(p.A, p.z[1:], p.y[1:], gamma=p.gamma, **call)
        assert same_bits(found.x[1], other.x[0])


def test_out_is_the_centre(backend):
    """out=z writes the step in place."""
    p = imaging("line", backend)
    for coupling in ("sample", "row"):
        call = dict(gamma=p.gamma, coupling=coupling, backend=backend)
        plain = subkern.cg_prox(p.A, p.z, p.y, **call)
        z = p.z.clone()
        found = subkern.cg_prox(p.A, z, p.y, out=z, info=True, **call)
        assert found.x is z
        assert same_bits(z, plain.x)


@pytest.mark.parametrize("power", [-12, -5, 5, 12])
@pytest.mark.parametrize("coupling", ["sample", "row"])
def test_scales(backend, power, coupling):
    p, scale = imaging("line", backend), 10.0**power
    call = dict(gamma=p.gamma, coupling=coupling, backend=backend)
    for options in (dict(maxiter=5), dict(maxiter=40, rtol=1e-3)):
        plain = subkern.cg_prox(p.A, p.z, p.y, **call, **options)
        found = subkern.cg_prox(p.A, p.z * scale, p.y * scale, **call, **options)
        assert found.status.tolist() == plain.status.tolist()
        assert found.iterations.tolist() == plain.iterations.tolist()
        assert float(relative(found.x / scale, plain.x).max()) <= rounding(p.z.dtype, p.condition)


def test_tolerance_is_that_of_the_right_hand_side(backend):
    """Relative to ||z + gamma A* y||, which the solver never forms."""
    p = imaging("plane", backend)
    call = dict(gamma=p.gamma, maxiter=40, info=True, backend=backend)
    for rtol in (1e-1, 1e-3, 1e-5):
        found = subkern.cg_prox(p.A, p.z, p.y, rtol=rtol, **call)
        norm = p.b.norm(dim=1)
        left = p.residual(found.x).norm(dim=1)
        assert found.status.tolist() == [0, 0]
        assert bool((left <= (1.01 * rtol + rounding(p.z.dtype, 1)) * norm).all())
        steps = found.iterations.tolist()
        for i, k in enumerate(steps):
            before = subkern.cg_prox(p.A, p.z, p.y, gamma=p.gamma, maxiter=k - 1, backend=backend)
            assert float(p.residual(before.x).norm(dim=1)[i]) > 0.99 * rtol * float(norm[i])
        assert bool(((found.residual_norm.cpu() - left).abs() <= 1e-5 * norm).all())


@pytest.mark.parametrize("options", [dict(replace_every=3), dict(precond=lambda r: 0.7 * r)])
def test_options(backend, options):
    """What cg offers, from a centre: the same solution."""
    p = imaging("plane", backend)
    call = dict(gamma=p.gamma, maxiter=40, info=True, backend=backend, **options)
    found = subkern.cg_prox(p.A, p.z, p.y, **call)
    assert p.off(found.x) <= rounding(p.z.dtype, p.condition)
    assert bool((found.residual_norm.cpu() <= 1e-5 * p.b.norm(dim=1)).all())


def test_callable(backend):
    """A plain v -> N v with A* y."""
    device = device_of(backend)
    z, Aty = vectors(3, device=device), vectors(3, device=device, seed=5)
    found = subkern.cg_prox(ring, z, Aty=Aty, gamma=2.0, maxiter=40, backend=backend)
    exact = subkern.cg(ring, z + 2.0 * Aty, gamma=2.0, maxiter=40, backend=backend)
    assert float(relative(found.x, exact.x).max()) <= rounding(z.dtype, 11)


def test_bad_numbers(backend):
    """NaN in the data of one sample, and in one weight: status 4 and its z."""
    p = imaging("line", backend)
    y = p.y.clone()
    y[1, 2, 3, 4] = math.nan
    weights = torch.tensor([p.gamma, math.nan], device=p.z.device)
    call = dict(maxiter=5, backend=backend)
    clean = subkern.cg_prox(p.A, p.z[:1], p.y[:1], gamma=p.gamma, **call)
    for data, gamma in ((y, p.gamma), (p.y, weights)):
        found = subkern.cg_prox(p.A, p.z, data, gamma=gamma, **call)
        assert found.status.tolist() == [1, 4]
        assert same_bits(found.x[1], p.z[1])
        assert same_bits(found.x[:1], clean.x)


def test_maps_of_more_coils(backend):
    """From one coil to many, against cg with a formed right-hand side in complex128."""
    device = device_of(backend)
    z = phantom(8, 12, 2)
    for coils in (1, 2, 5, 17):
        maps, m = birdcage(coils, 8, 12), mask("line", 8, 12)
        wide = CartesianSense(maps, m)
        Aty = wide.adjoint(wide.matvec(z) * (1 + 0.1j))
        exact = subkern.cg_prox(wide, 0 * z, Aty=Aty, gamma=3.0, maxiter=30, backend="reference").x
        A = CartesianSense(maps.to(device, torch.complex64), m.to(device))
        narrow = [v.to(device, torch.complex64) for v in (0 * z, Aty)]
        found = subkern.cg_prox(A, narrow[0], Aty=narrow[1], gamma=3.0, maxiter=30, backend=backend)
        assert float(relative(found.x, exact).max()) <= rounding(torch.complex64, 4), coils
