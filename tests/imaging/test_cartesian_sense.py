"""CartesianSense against Fourier matrices written out; its lines; solves with either coupling."""

import itertools
import math

import pytest
import torch
from sktest.backends import device_of
from sktest.krylov import (
    KINDS,
    birdcage,
    mask,
    matrix,
    phantom,
    problem,
    relative,
    rounding,
    same_bits,
    sense,
)
from sktest.krylov_cases import kinds

import subkern
from subkern.imaging import CartesianSense, dot_test

OP = "cg"
pytestmark = pytest.mark.usefixtures("one_thread")
EPS = torch.finfo(torch.float32).eps


def fourier(n, centered):
    """(n, n) complex128: the orthonormal transform, by its formula."""
    at = torch.arange(n, dtype=torch.float64) - (n // 2 if centered else 0)
    return torch.polar(
        torch.ones(n, n, dtype=torch.float64), -2 * math.pi * at[:, None] * at / n
    ) / (n**0.5)


def transformed(x, axes, centered):
    """Along each of the axes by its matrix."""
    for axis in axes:
        F = fourier(x.shape[axis], centered)
        x = torch.movedim(torch.movedim(x, axis, -1) @ F.mT, -1, axis)
    return x


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("spatial", [(6,), (7,), (6, 8), (5, 6), (9, 7), (4, 5, 6)], ids=str)
def test_matvec(spatial, centered):
    """Mask * F (S x) with F written out, for even and odd lengths."""
    d = len(spatial)
    maps, x = random(1, 3, *spatial), random(2, *spatial, seed=1)
    weights = torch.rand(2, 1, *spatial, dtype=torch.float64)
    A = CartesianSense(maps, weights, centered=centered, spatial_ndim=d)
    exact = weights * transformed(maps * x[:, None], range(-d, 0), centered)
    assert float((A.matvec(x) - exact).norm()) <= 1e-13 * float(exact.norm())
    assert dot_test(A, x, exact) <= 1e-13
    narrow = CartesianSense(maps.to(torch.complex64), weights, centered=centered, spatial_ndim=d)
    assert dot_test(narrow, x.to(torch.complex64), exact.to(torch.complex64)) <= 1e-6
    error = (narrow.matvec(x.to(torch.complex64)) - exact).norm() / exact.norm()
    assert float(error) <= 8 * EPS


def test_sets():
    """Several sets of maps: sums of the images' parts, and an image for every set."""
    maps, x = random(2, 1, 3, 6, 5), random(4, 2, 6, 5, seed=1)
    m = mask("plane", 6, 5)
    A = CartesianSense(maps, m)
    exact = sum(CartesianSense(maps[e], m).matvec(x[:, e].clone()) for e in range(2))
    assert float((A.matvec(x) - exact).norm()) <= 1e-13 * float(exact.norm())
    assert dot_test(A, x, exact) <= 1e-13
    N = matrix(A.normal, x[:1])
    assert float((N - N.mH).norm()) <= 1e-13 * float(N.norm())
    exact_N = matrix(lambda v: A.adjoint(A.matvec(v)), x[:1])
    assert float((N - exact_N).norm()) <= 1e-13 * float(N.norm())


@pytest.mark.parametrize("size", [(16, 16), (9, 11), (7, 12), (1, 8), (8, 1)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_normal(backend, kind, size):
    """N transforms less and is A* A all the same: to rounding, and without lines."""
    if kind not in kinds(backend):
        pytest.skip("two kinds of mask are enough where kernels are interpreted")
    device = device_of(backend)
    x = phantom(*size, 2).to(device, torch.complex64)
    A = sense(kind, *size, device=device)
    with subkern.backend(backend):
        found = A.normal(x)
        planes = sense(kind, *size, device=device, detect_lines=False).normal(x)
    wide = sense(kind, *size, dtype=torch.complex128)
    exact = wide.adjoint(wide.matvec(x.cpu().to(torch.complex128)))
    for got in (found, planes):
        assert float((got.cpu() - exact).norm()) <= 10 * EPS * float(x.norm())
    assert found.is_contiguous()


KIND_OF = {
    "line": "line",
    "line-h": "line",
    "plane": "plane",
    "weighted": "line",
    "per-sample": "line",
    "per-sample-plane": "plane",
    "full": "line",
    "zero": "line",
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind):
    assert sense(kind).kind == KIND_OF[kind]
    assert sense(kind, detect_lines=False).kind == "plane"


def test_lines_of_some_samples_are_no_lines():
    """One sample whose mask varies along both axes makes planes of all; either axis counts."""
    lines, columns = mask("line", 8, 8), mask("line-h", 8, 8)
    maps = birdcage(2, 8, 8)
    assert CartesianSense(maps, torch.cat([lines, lines.flip(-1)])).kind == "line"
    assert CartesianSense(maps, torch.cat([lines, columns])).kind == "plane"
    assert CartesianSense(maps, torch.cat([lines, mask("plane", 8, 8)])).kind == "plane"


@pytest.mark.parametrize("axis", [0, 1], ids=["h", "w"])
def test_forms_of_a_mask(axis):
    """Whatever broadcasts to (samples, 1, H, W), of any real dtype, is the same mask."""
    maps, x = birdcage(3, 6, 8).to(torch.complex64), phantom(6, 8, 2).to(torch.complex64)
    n = (6, 8)[axis]
    line = (torch.arange(n) % 3 != 1).float()
    one = line[:, None] if axis == 0 else line
    full = one.expand(6, 8)
    forms = [one, full, full[None], full[None, None], full.expand(2, 1, 6, 8), one[None, None]]
    forms += [one.double(), one.bool(), one.int(), one.to(torch.uint8), one.half()]
    forms += [line[None, None] if axis else line[None, None, :, None]]
    exact = CartesianSense(maps, full[None, None].clone())
    for form in forms:
        A = CartesianSense(maps, form)
        assert A.kind == "line"
        assert same_bits(A.matvec(x), exact.matvec(x))
        assert same_bits(A.normal(x), exact.normal(x))
        solved = [subkern.cg(op, x, gamma=2.0, coupling="row").x for op in (A, exact)]
        assert same_bits(*solved)


def test_norm_bound():
    """1 for maps of unit root sum of squares and a 0/1 mask; never less than the largest value."""
    for kind in KINDS:
        A = sense(kind, 8, 8, dtype=torch.complex128)
        N = matrix(A.normal, torch.zeros(2, 8, 8, dtype=torch.complex128))
        assert float(torch.linalg.eigvalsh(N).max()) <= A.norm_bound + 1e-12
        if kind not in ("weighted", "zero"):
            assert A.norm_bound == pytest.approx(1.0)
    maps = random(2, 1, 3, 6, 5)
    A = CartesianSense(maps, 0.7 * torch.ones(5))
    N = matrix(A.normal, torch.zeros(1, 2, 6, 5, dtype=torch.complex128))
    assert float(torch.linalg.eigvalsh(N).max()) <= A.norm_bound


@pytest.mark.parametrize("kind", ["line", "line-h", "weighted", "per-sample", "full"])
def test_row_coupling(backend, kind):
    """P7 and P8: the solution of sample coupling in the end, and a smaller error on the way."""
    if kind not in ("line", "line-h") and kind not in kinds(backend):
        pytest.skip("two kinds of mask are enough where kernels are interpreted")
    make = lambda dtype, device: sense(kind, 16, 12, dtype=dtype, device=device)  # noqa: E731
    p = problem(make, phantom(16, 12, 2), device=device_of(backend))
    solved = {}
    for coupling in ("sample", "row"):
        call = dict(gamma=p.gamma, coupling=coupling, backend=backend)
        solved[coupling] = subkern.cg_prox(p.A, p.z, p.y, maxiter=40, **call).x
        assert p.off(solved[coupling]) <= rounding(p.z.dtype, p.condition)
    assert float(relative(solved["row"], solved["sample"]).max()) <= 1e-5
    floor = rounding(p.z.dtype, p.condition) * p.energy(0 * p.z)
    for M in range(7):
        call = dict(gamma=p.gamma, maxiter=M, backend=backend)
        sample = p.energy(subkern.cg_prox(p.A, p.z, p.y, **call).x)
        row = p.energy(subkern.cg_prox(p.A, p.z, p.y, coupling="row", **call).x)
        assert bool((row <= sample * (1 + 1e-3) + floor).all()), M
        if M in (2, 3) and kind != "full":
            assert bool((row < 0.999 * sample).all()), "row coupling did not do better"


@pytest.mark.parametrize("from_centre", [True, False])
def test_rows_are_systems_of_their_own(backend, from_centre):
    """Each row is solved as an image of one row is, and statuses are those of the worst row."""
    device = device_of(backend)
    A = sense("line", 5, 16, device=device)
    z, b = (phantom(5, 16, 2).to(device, torch.complex64) * f for f in (0.3, 2.0))
    call = dict(gamma=3.0, maxiter=4, backend=backend)
    run = (
        (lambda op, z, b, **more: subkern.cg_prox(op, z, Aty=b, **call, **more))
        if from_centre
        else (lambda op, z, b, **more: subkern.cg(op, b, z, **call, **more))
    )
    found = run(A, z, b, coupling="row")
    squares = torch.zeros(2, dtype=torch.float64, device=device)
    for i in range(5):
        row = CartesianSense(A.maps[:, :, i : i + 1].clone(), A.mask[:, :, i : i + 1])
        alone = run(row, z[:, i : i + 1], b[:, i : i + 1])
        error = float(relative(found.x[:, i], alone.x[:, 0]).max())
        assert error <= rounding(z.dtype, 4, 4)
        squares += alone.residual_norm.square()
    assert bool(((found.residual_norm / squares.sqrt() - 1).abs() <= 1e-3).all())
    assert found.status.tolist() == [1, 1]


def test_row_coupling_with_a_tolerance(backend):
    """Every row meets it by itself."""
    device = device_of(backend)
    A = sense("line", device=device)
    b = phantom(16, 16, 2).to(device, torch.complex64)
    b[0, 4] = 0
    call = dict(gamma=5.0, coupling="row", backend=backend)
    found = subkern.cg(A, b, rtol=1e-3, maxiter=50, **call)
    assert found.status.tolist() == [0, 0]
    left = (b - found.x - 5.0 * A.normal(found.x)).norm(dim=-1)
    assert bool((left <= 1.01e-3 * b.norm(dim=-1) + EPS * float(b.norm())).all())
    assert ((found.iterations > 2) & (found.iterations < 30)).all()  # those of the slowest row
    assert (found.x[0, 4] == 0).all()
    jacobi = subkern.cg(A, b, precond=lambda r: 0.5 * r, rtol=1e-3, maxiter=50, **call)
    assert float(relative(jacobi.x, found.x).max()) <= 1e-2
    assert jacobi.status.tolist() == [0, 0]


def test_row_coupling_needs_rows(backend):
    device = device_of(backend)
    b = phantom(16, 16, 2).to(device, torch.complex64)
    line = mask("line", 16, 16).to(device)
    sets = birdcage(2, 16, 16)[None].to(device, torch.complex64)
    cases = [(sense("plane", device=device), b), (CartesianSense(sets, line), b[:, None])]
    cases += [(lambda v: v, b), (sense("line", device=device, detect_lines=False), b)]
    for op, rhs in cases:
        for run in (
            lambda op, v, **call: subkern.cg(op, v, **call),
            lambda op, v, **call: subkern.cg_prox(op, v, Aty=v, gamma=1.0, **call),
        ):
            with pytest.raises(ValueError, match=r"cg(_prox)?: coupling must be 'sample' or 'all'"):
                run(op, rhs, coupling="row", backend=backend)


def test_update(backend):
    """New masks and maps: what a new operator gives, in kind, values and solves."""
    device = device_of(backend)
    z = phantom(8, 12, 2).to(device, torch.complex64)
    call = dict(Aty=2 * z, gamma=3.0, backend=backend)
    A = sense("line", 8, 12, device=device)
    subkern.cg_prox(A, z, **call)  # kernels have prepared the first mask
    maps = birdcage(6, 8, 12).to(device, torch.complex64)
    changes = [dict(mask=mask("plane", 8, 12).to(device)), dict(maps=maps)]
    changes += [dict(mask=mask("line-h", 8, 12).to(device), maps=maps.flip(1)), dict()]
    for change in changes:
        A.update(**change)
        fresh = CartesianSense(A.maps, A.mask)
        if "maps" in change:
            assert same_bits(A.maps, change["maps"])
        assert (A.kind, A.norm_bound) == (fresh.kind, fresh.norm_bound)
        assert same_bits(A.matvec(z), fresh.matvec(z))
        assert same_bits(A.normal(z), fresh.normal(z))
        couplings = ("sample", "row") if A.kind == "line" else ("sample",)
        for coupling in couplings:
            found, exact = (
                subkern.cg_prox(op, z, coupling=coupling, **call).x for op in (A, fresh)
            )
            assert same_bits(found, exact)
    assert A.kind == "line"
    before = A.normal(z)
    for bad in (dict(mask=-torch.ones(12)), dict(maps=maps[0]), dict(mask=torch.ones(13))):
        with pytest.raises(ValueError, match="CartesianSense: ma"):
            A.update(**{k: v.to(device) for k, v in bad.items()})
        assert same_bits(A.normal(z), before)


def test_readout_of_a_volume(backend):
    """A mask that is constant along one of three axes leaves planes, along two leaves lines."""
    device = device_of(backend)
    shape = (3, 4, 5)
    maps, x = random(1, 2, *shape), random(2, *shape, seed=1)
    maps = maps / maps.abs().square().sum(1, keepdim=True).sqrt()
    plane = mask("plane", 4, 5)[0, 0]
    masks = {
        "plane": [plane.expand(shape), plane.mT[:, None, :].expand(5, 3, 4).permute(1, 2, 0)],
        "line": [torch.tensor([1.0, 0, 1, 1, 0]).expand(shape), torch.ones(4, 1)],
        "volume": [mask("per-sample-plane", 4, 5, 3)[:, 0]],
    }
    for kind, m in ((k, m) for k, ms in masks.items() for m in ms):
        wide = CartesianSense(maps, m, spatial_ndim=3)
        assert wide.kind == kind
        A = CartesianSense(maps.to(device, torch.complex64), m.to(device), spatial_ndim=3)
        exact = wide.adjoint(wide.matvec(x))
        with subkern.backend(backend):
            found = A.normal(x.to(device, torch.complex64))
        assert float((found.cpu() - exact).norm()) <= 10 * EPS * float(x.norm())
        N = matrix(wide.normal, x[:1])[0]
        H = torch.eye(60) + 4.0 * N
        solution = torch.linalg.solve(H, x.flatten(1).mT).mT
        couplings = ("sample", "row", "all") if kind == "line" else ("sample", "all")
        for coupling in couplings:
            call = dict(gamma=4.0, maxiter=30, coupling=coupling, backend=backend)
            solved = subkern.cg(A, x.to(device, torch.complex64), **call)
            assert float(relative(solved.x, solution).max()) <= rounding(torch.complex64, 5)
            assert solved.x.shape == x.shape


def test_per_sample_volumes(backend):
    """Maps and masks of each sample, planes taken apart and put together in order."""
    device = device_of(backend)
    shape = (3, 4, 5)
    maps, x = random(2, 2, *shape).to(torch.complex64), random(2, *shape, seed=1)
    masks = mask("per-sample-plane", 4, 5, 2)[:, :, None].expand(2, 1, *shape)
    x = x.to(device, torch.complex64)
    for S, m in itertools.product((maps, maps[:1]), (masks, masks[:1])):
        A = CartesianSense(S.to(device), m.to(device), spatial_ndim=3)
        assert A.kind == "plane"
        found = subkern.cg(A, x, gamma=torch.tensor([2.0, 5.0], device=device), backend=backend).x
        for i in range(2):
            one = [v[i % len(v)][None].to(device) for v in (S, m)]
            alone = CartesianSense(*one, spatial_ndim=3)
            exact = subkern.cg(alone, x[i : i + 1], gamma=(2.0, 5.0)[i], backend=backend).x
            assert same_bits(found[i : i + 1], exact)


@pytest.mark.parametrize("kind", ["line", "plane"])
def test_soft_sense(backend, kind):
    """Two sets of maps: the dense solution, for images (samples, sets, H, W)."""
    device = device_of(backend)
    sets = torch.stack([birdcage(3, 6, 7), 0.4 * birdcage(3, 6, 7).flip(1, -1)])
    wide = CartesianSense(sets, mask(kind, 6, 7))
    b = random(2, 2, 6, 7)
    N = matrix(wide.normal, b[:1])[0]
    exact = torch.linalg.solve(torch.eye(84) + 3.0 * N, b.flatten(1).mT).mT
    A = CartesianSense(sets.to(device, torch.complex64), mask(kind, 6, 7).to(device))
    assert A.kind == kind
    call = dict(gamma=3.0, maxiter=40, backend=backend)
    found = subkern.cg(A, b.to(device, torch.complex64), **call)
    assert float(relative(found.x, exact).max()) <= rounding(torch.complex64, 5)


def test_maps_that_are_views():
    """Conjugate views, other strides and gradients: the operator of the plain tensor."""
    maps, x = birdcage(3, 6, 8).to(torch.complex64), phantom(6, 8, 2).to(torch.complex64)
    m = mask("line", 6, 8)
    plain = CartesianSense(maps.conj().resolve_conj(), m)
    for view in (maps.conj(), maps.conj().mT.contiguous().mT, maps.conj().requires_grad_()):
        A = CartesianSense(view, m)
        assert same_bits(A.matvec(x), plain.matvec(x))
        assert same_bits(A.adjoint(A.matvec(x)), plain.adjoint(plain.matvec(x)))
        found = [subkern.cg(op, x, gamma=2.0, coupling="row").x for op in (A, plain)]
        assert same_bits(*found)
    for name in ("matvec", "normal"):
        expected = getattr(plain, name)(x.conj().resolve_conj())
        assert same_bits(getattr(plain, name)(x.conj()), expected)


def test_gradients_of_the_operator():
    """Autograd goes through matvec, adjoint and normal: N is its own adjoint."""
    A = sense("line", 4, 6, coils=2, dtype=torch.complex128)
    x = random(2, 4, 6).requires_grad_()
    y = random(2, 2, 4, 6, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(A.matvec, x)
    assert torch.autograd.gradcheck(A.adjoint, y)
    assert torch.autograd.gradcheck(A.normal, x)
