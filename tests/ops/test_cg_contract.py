"""One body for every backend: statuses of cg, edge inputs, scales, memory, layouts of tensors."""

import math

import pytest
import torch
from sktest.backends import device_of
from sktest.krylov import matrix, relative, rounding, same_bits, textbook
from sktest.krylov_cases import chain, imaging, ring, vectors

import subkern
from subkern.imaging import dot_test

OP = "cg"
pytestmark = pytest.mark.usefixtures("one_thread")
MET, ALL_STEPS, STAGNATED, CURVATURE, NONFINITE = range(5)


@pytest.fixture
def run(backend):
    """cg on tensors of the backend's device."""

    def run(op, b, x0=None, **options):
        device = device_of(backend)
        moved = [v if v is None else v.to(device) for v in (b, x0)]
        return subkern.cg(op, *moved, **options, backend=backend)

    return run


def steps_of_the_textbook(op, b, target):
    """The first step whose recursion leaves no more than ``target``, well apart from its border."""
    N = matrix(op, b[None].to(torch.complex128))[0]
    wide = b.to(torch.complex128)
    for k, x in enumerate(textbook(lambda v: N @ v, wide, torch.zeros_like(wide), 60)):
        left = float((wide - N @ x).norm())
        assert not 0.999 < left / target < 1.001, "the tolerance is too close to a residual"
        if left <= target:
            return k
    raise AssertionError("not within 60 steps")


def test_met_the_tolerance(run):
    """Status 0 at the step at which the textbook's residual falls below the tolerance."""
    b = vectors(4) * torch.tensor([[1.0], [0.1], [10.0], [3.0]])
    for options in (dict(rtol=1e-3), dict(atol=0.02), dict(rtol=1e-5, atol=0.1)):
        found = run(ring, b, maxiter=60, info=True, **options)
        targets = (options.get("rtol", 0.0) * b.norm(dim=1)).clamp_min(options.get("atol", 0.0))
        assert found.status.tolist() == [MET] * 4
        expected = [steps_of_the_textbook(ring, b[i], float(targets[i])) for i in range(4)]
        assert found.iterations.tolist() == expected
        assert len(set(expected)) > 1 or "atol" not in options
        slack = rounding(b.dtype, 5) * b.norm(dim=1)
        assert (found.residual_norm.cpu() <= targets + slack).all()


def test_a_sample_that_is_done_is_not_written_again(run):
    """Its bits are those of a run that ends at its own step."""
    b = torch.cat([vectors(2), 1e-2 * vectors(1, seed=8)])
    found = run(ring, b, maxiter=60, atol=0.03)
    steps = found.iterations.tolist()
    assert len(set(steps)) > 1
    for i, k in enumerate(steps):
        assert same_bits(found.x[i], run(ring, b, maxiter=k).x[i])


def test_ran_all_steps(run):
    for options in (dict(), dict(rtol=1e-5)):
        found = run(ring, vectors(2), maxiter=3, **options)
        assert found.status.tolist() == [ALL_STEPS] * 2
        assert found.iterations.tolist() == [3, 3]
    none = run(ring, vectors(2), maxiter=0)
    assert none.status.tolist() == [ALL_STEPS] * 2
    assert none.iterations.tolist() == [0, 0]
    assert same_bits(none.x, torch.zeros_like(none.x))


@pytest.mark.parametrize("rtol", [1e-7, 1e-9, 1e-30])
def test_stagnates_at_the_rounding_floor(run, rtol):
    """A tolerance that float32 cannot meet ends in status 2, with the answer that it can give."""
    b = vectors(2)
    found = run(ring, b, maxiter=400, rtol=rtol, info=True)
    assert found.status.tolist() == [STAGNATED] * 2
    assert (found.iterations < 60).all()
    exact = torch.linalg.solve(
        matrix(ring, b.to(torch.complex128)), b.to(torch.complex128)[..., None]
    )
    assert float(relative(found.x, exact[..., 0]).max()) <= rounding(b.dtype, 5)
    assert (found.residual_norm.cpu() <= rounding(b.dtype, 5) * b.norm(dim=1)).all()


def test_solved_exactly_from_the_start(run):
    """b = H x0, and b = 0 without x0: x0 or 0, no step, status 0."""
    x0 = vectors(3)
    for rtol in (0.0, 1e-4):
        for gamma in (None, 0.5):  # H = 2, without rounding
            found = run(lambda v: 2 * v, x0 * 2, x0, gamma=gamma, rtol=rtol)
            assert found.status.tolist() == [MET] * 3
            assert found.iterations.tolist() == [0] * 3
            assert same_bits(found.x.cpu(), x0)
        zero = run(ring, torch.zeros_like(x0), rtol=rtol)
        assert zero.status.tolist() == [MET] * 3
        assert zero.iterations.tolist() == [0] * 3
        assert same_bits(zero.x, torch.zeros_like(zero.x))
        assert zero.residual_norm.tolist() == [0.0] * 3


def test_towards_zero(run):
    """b = 0 with x0 != 0: the textbook's steps towards 0."""
    b, x0 = torch.zeros(2, 24, dtype=torch.complex64), vectors(2)
    N = matrix(ring, x0.to(torch.complex128))
    for k in (1, 3):
        found = run(ring, b, x0, maxiter=k, rtol=1e-6)
        for i in range(2):
            wide = x0[i].to(torch.complex128)
            *_, exact = textbook(lambda v, i=i: N[i] @ v, 0 * wide, wide, k)
            error = float((found.x[i].cpu() - exact).norm() / wide.norm())
            assert error <= rounding(b.dtype, 5, k)
    end = run(ring, b, x0, maxiter=200, atol=1e-4)
    assert end.status.tolist() == [MET] * 2
    assert (end.x.cpu().norm(dim=1) <= 1e-4).all()


def test_no_weight(run):
    """gamma = 0: x = b after one step."""
    b = vectors(3)
    found = run(ring, b, gamma=0.0)
    assert same_bits(found.x.cpu(), b)
    assert found.iterations.tolist() == [1] * 3
    assert found.status.tolist() == [MET] * 3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["b", "x0", "gamma", "op"])
def test_not_finite(run, backend, bad, where):
    """Status 4 in that sample, with the last good x; the others keep their bits."""
    b, x0, gamma = vectors(4), vectors(4, seed=7), torch.full((4,), 0.5)
    d = torch.linspace(1, 3, 24).repeat(4, 1)
    target = dict(b=b, x0=x0, gamma=gamma, op=d)[where]
    target[(2, 5) if target.dim() == 2 else 2] = bad
    rest = [0, 1, 3]

    def on(rows, **options):
        factors, weights = d[rows], gamma[rows].to(device_of(backend))
        op = lambda v: v * factors.to(v.device)  # noqa: E731
        return run(op, b[rows], x0[rows], gamma=weights, **options)

    for options in (dict(maxiter=4), dict(maxiter=30, rtol=1e-4), dict(maxiter=4, info=True)):
        found, clean = on(slice(None), **options), on(rest, **options)
        for got, expected in zip(found, clean, strict=True):
            assert same_bits(got[rest], expected)
        assert int(found.status[2]) == NONFINITE
        assert int(found.iterations[2]) == 0
        assert same_bits(found.x[2].cpu(), x0[2])


def test_not_finite_later(run):
    """An operator that overflows at some step: the x before that step."""
    calls = []

    def op(v):
        calls.append(1)
        found = ring(v)
        if len(calls) == 4:
            found = found.index_fill(0, torch.tensor([1], device=v.device), complex(math.inf, 0))
        return found

    b = vectors(3)
    found, clean = run(op, b, maxiter=6), run(ring, b, maxiter=6)
    assert found.status.tolist() == [ALL_STEPS, NONFINITE, ALL_STEPS]
    assert found.iterations.tolist() == [6, 3, 6]
    assert same_bits(found.x[[0, 2]], clean.x[[0, 2]])
    assert same_bits(found.x[1], run(ring, b, maxiter=3).x[1])


def test_not_finite_couples_all(run):
    b = vectors(2)
    b[1, 0] = math.nan
    found = run(ring, b, coupling="all")
    assert found.status.tolist() == [NONFINITE] * 2
    assert same_bits(found.x, torch.zeros_like(found.x))


def test_indefinite(run):
    """Curvature that is not positive: status 3, and the last x, which is finite."""
    d = torch.ones(24)
    d[3] = -2.0
    b = torch.zeros(3, 24)
    b[0, 3], b[1, 5] = 1.0, 1.0  # bad at once; never; at some step
    b[2] = 1.0
    found = run(lambda v: v * d.to(v.device), b, maxiter=9)
    assert found.status.tolist() == [CURVATURE, MET, CURVATURE]
    assert found.iterations.tolist()[0] == 0
    assert bool(found.x.isfinite().all())
    assert same_bits(found.x[0], torch.zeros_like(found.x[0]))
    singular = run(lambda v: 0 * v, b, maxiter=9)
    assert singular.status.tolist() == [CURVATURE] * 3


def test_not_hermitian(backend):
    """dot_test sees what a solver cannot: <N u, v> is not <u, N v>."""
    x = vectors(2, device=device_of(backend))
    assert dot_test(ring, x) <= 1e-6
    assert dot_test(lambda v: ring(v) + 0.3 * torch.roll(v, 1, -1), x) >= 0.01
    assert dot_test(lambda v: 1j * ring(v), x) >= 0.1
    assert dot_test(lambda v: v * math.nan, x) == math.inf


@pytest.mark.parametrize("power", [-12, -6, -3, 3, 6, 12])
def test_scales(run, power):
    """The same iterates up to the scale of the data: nothing is added to a denominator."""
    b, x0, scale = vectors(3), vectors(3, seed=4), 10.0**power
    for options in (dict(maxiter=5), dict(maxiter=60, rtol=1e-4), dict(maxiter=5, gamma=0.8)):
        plain = run(ring, b, x0, **options)
        found = run(ring, b * scale, x0 * scale, **options)
        assert found.status.tolist() == plain.status.tolist()
        assert found.iterations.tolist() == plain.iterations.tolist()
        error = float(relative(found.x / scale, plain.x).max())
        assert error <= rounding(b.dtype, 5, 5)
        ratio = found.residual_norm / plain.residual_norm
        # What is left of the residual after so many digits is partly rounding.
        assert bool(((ratio / scale - 1).abs() <= 0.02).all())


@pytest.mark.parametrize("power", [-40, 40])
def test_powers_of_two(run, backend, power):
    """Scales that are exact change no bit, of images too."""
    b, scale = vectors(2), 2.0**power
    p = imaging("plane", backend)
    rhs = p.b.view(p.z.shape).to(p.z.dtype)
    for op, v, options in ((ring, b, dict()), (p.A, rhs, dict(gamma=2.0))):
        plain, found = run(op, v, **options), run(op, v * scale, **options)
        assert same_bits(found.x, plain.x * scale)
        assert same_bits(found.residual_norm, plain.residual_norm * scale)


def test_inputs_are_not_written(run, backend):
    device = device_of(backend)
    p = imaging("line", backend)
    b, x0, gamma = p.b.view(p.z.shape).to(device, p.z.dtype), p.z, torch.tensor([1.0, 2.0])
    gamma = gamma.to(device)
    kept = [v.clone() for v in (b, x0, gamma, p.A.maps, p.A.mask)]
    for coupling in ("sample", "row", "all"):
        subkern.cg(p.A, b, x0, gamma=gamma, coupling=coupling, backend=backend)
        subkern.cg(p.A, b, x0, gamma=gamma, coupling=coupling, rtol=1e-3, backend=backend)
    for before, after in zip(kept, (b, x0, gamma, p.A.maps, p.A.mask), strict=True):
        assert same_bits(before, after)


def test_out(run, backend):
    """out= is returned; it may be x0 or b, and have other strides."""
    device = device_of(backend)
    b, x0 = vectors(2, device=device), vectors(2, device=device, seed=3)
    plain = run(ring, b, x0)
    for make in (
        lambda: torch.full_like(b, math.nan),
        lambda: torch.full((24, 2), math.nan, dtype=b.dtype, device=device).mT,
        lambda: torch.full((2, 48), math.nan, dtype=b.dtype, device=device)[:, ::2],
    ):
        out = make()
        found = run(ring, b, x0, out=out)
        assert found.x is out
        assert same_bits(out, plain.x)
    start = x0.clone()
    assert run(ring, b, start, out=start).x is start
    assert same_bits(start, plain.x)
    rhs = b.clone()
    run(ring, rhs, x0, out=rhs)
    assert same_bits(rhs, plain.x)


def test_workspace(run, backend):
    """The same bits in a caller's memory, none of it beyond what was asked for."""
    device = device_of(backend)
    p = imaging("plane", backend)
    rhs = p.b.view(p.z.shape).to(device, p.z.dtype)
    for op, b in ((ring, vectors(2, device=device)), (p.A, rhs), (ring, vectors(0, device=device))):
        space = torch.full((2 * b.numel() + 7,), 5.0, dtype=b.dtype, device=device)
        found = run(op, b, gamma=1.0, workspace=space)
        assert same_bits(found.x, run(op, b, gamma=1.0).x)
        assert (space[2 * b.numel() :] == 5).all()
        assert not b.numel() or not (space[: 2 * b.numel()] == 5).all()
    space = torch.zeros(200, dtype=torch.complex64, device=device)
    for name in ("b", "x0"):
        call = dict(b=vectors(2, device=device), x0=vectors(2, device=device))
        call[name] = space[90:138].view(2, 24)
        with pytest.raises(ValueError, match=r"cg: .* must not share memory with workspace"):
            run(ring, call["b"], call["x0"], workspace=space[:100])


def strided(v):
    """The same numbers with other strides."""
    yield v.mT.contiguous().mT
    yield torch.stack([v, v], -1).flatten(1)[:, ::2]
    yield torch.cat([v.new_zeros(len(v), 3), v], 1)[:, 3:]


def test_strides_and_views(run):
    """Tensors of other strides, conjugate and negative views: the bits of plain ones."""
    b, x0 = vectors(2), vectors(2, seed=6)
    plain = run(ring, b, x0).x
    for other_b, other_x0 in zip(strided(b), strided(x0), strict=True):
        assert same_bits(run(ring, other_b, other_x0).x, plain)
    conjugate = run(ring, b.conj(), x0.conj())
    assert b.conj().is_conj()
    assert same_bits(conjugate.x, run(ring, b.conj().resolve_conj(), x0.conj().resolve_conj()).x)
    negative = b.conj().imag
    assert negative.is_neg()
    assert same_bits(run(chain, negative).x, run(chain, negative.resolve_neg()).x)
    one = b[:1].expand(3, 24)
    assert same_bits(run(ring, one).x, run(ring, b[:1].repeat(3, 1)).x)


def test_gradients_are_not_recorded(run):
    b = vectors(2).requires_grad_()
    x0 = vectors(2).requires_grad_()
    gamma = torch.ones((), requires_grad=True)
    found = run(ring, b, x0, gamma=gamma)
    assert not found.x.requires_grad
    assert same_bits(found.x, run(ring, b.detach(), x0.detach(), gamma=1.0).x)
    with torch.inference_mode():
        inside = run(ring, vectors(2), vectors(2), gamma=1.0)
    assert same_bits(inside.x, found.x)
    d = torch.ones(24, requires_grad=True)
    assert not run(lambda v: torch.enable_grad()(lambda: v * d.to(v.device))(), b).x.requires_grad


def test_weights_per_sample(run, backend):
    """Each sample has the bits of a run with its own number."""
    p, device = imaging("line", backend), device_of(backend)
    b = p.b.view(p.z.shape).to(p.z.dtype)
    weights = torch.tensor([0.5, 20.0])
    for coupling in ("sample", "row"):
        found = run(p.A, b, gamma=weights.to(device), coupling=coupling)
        wide = run(p.A, b, gamma=weights.double().to(device), coupling=coupling)
        assert same_bits(found.x, wide.x)
        for i in range(2):
            alone = run(p.A, b[i : i + 1], gamma=float(weights[i]), coupling=coupling)
            assert same_bits(found.x[i : i + 1], alone.x)
            scalar = run(p.A, b[i : i + 1], gamma=weights[i], coupling=coupling)
            assert same_bits(found.x[i : i + 1], scalar.x)
    assert same_bits(run(p.A, b, gamma=2).x, run(p.A, b, gamma=2.0).x)


@pytest.mark.parametrize("shape", [(0, 24), (3, 0), (0, 0), (1, 1), (2, 3, 4, 5)], ids=str)
def test_shapes(run, shape):
    """Empty batches and samples are legal; samples have any number of axes."""
    b = torch.ones(shape)
    for options in (dict(), dict(rtol=1e-3), dict(gamma=1.0, info=True), dict(coupling="all")):
        found = run(lambda v: 2 * v, b, **options)
        assert found.x.shape == shape
        assert [v.shape for v in found[1:]] == [(shape[0],)] * 3
        assert [v.dtype for v in found[1:]] == [torch.float64, torch.int32, torch.int32]
        solution = 1 / (1 + 2 * options["gamma"]) if "gamma" in options else 0.5
        assert torch.allclose(found.x.cpu(), b * solution)
