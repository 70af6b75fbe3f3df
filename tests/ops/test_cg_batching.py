"""One body for every backend: samples never mix, threads do not count, the host does not read."""

import concurrent.futures
import math

import pytest
import torch
from sktest.backends import device_of, is_simulated
from sktest.krylov import birdcage, mask, phantom, same_bits, sense
from sktest.krylov_cases import chain, imaging, ring, vectors
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import subkern
from subkern.imaging import Blur, CartesianSense, Dense, FourierMask

OP = "cg"
pytestmark = pytest.mark.usefixtures("one_thread")
ODD = (9, 11)  # lengths at which torch's vectors leave a rest


class Reads(TorchDispatchMode):
    """Counts how often the host asks a tensor for a number."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def operators(device):
    """One operator of every kind for complex images of 9 x 11, by name."""
    wide = torch.randn(99, 99, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    maps = birdcage(3, *ODD).to(device, torch.complex64)
    sets = torch.stack([maps, 0.5 * maps.flip(1)])
    return {
        **{kind: sense(kind, *ODD, coils=3, device=device) for kind in ("line", "line-h", "plane")},
        "sets": CartesianSense(sets, mask("line", *ODD).to(device)),
        "plane-by-choice": CartesianSense(maps, mask("line", *ODD).to(device), detect_lines=False),
        "fourier": FourierMask(mask("plane", *ODD)[:, 0].to(device)),
        "blur": Blur(torch.rand(3, 2, generator=torch.Generator().manual_seed(2)).to(device), ODD),
        "dense": Dense((wide / 20).to(device, torch.complex64)),
    }


def images_of(name, A, samples):
    z = phantom(*ODD, samples).to(torch.complex64)
    if name == "sets":
        z = torch.stack([z, 0.3 * z.conj().resolve_conj()], 1)
    return z.flatten(1) if name == "dense" else z


OPERATORS = ("line", "line-h", "plane", "sets", "plane-by-choice", "fourier", "blur", "dense")


@pytest.mark.parametrize("name", OPERATORS)
def test_removing_a_sample(backend, name):
    """The others keep every bit of x, residuals, steps and statuses."""
    if is_simulated(backend) and name not in ("line", "plane"):
        pytest.skip("two operators are enough where kernels are interpreted")
    A = operators(device_of(backend))[name]
    b = images_of(name, A, 4).to(device_of(backend))
    for options in (dict(maxiter=4), dict(maxiter=20, rtol=1e-3, info=True)):
        couplings = ("sample", "row") if name in ("line", "line-h") else ("sample",)
        for coupling in couplings:
            call = dict(gamma=3.0, coupling=coupling, backend=backend, **options)
            whole = subkern.cg(A, b, 0.5 * b, **call)
            for kept in ([0, 1, 3], [2], [3, 1]):
                found = subkern.cg(A, b[kept], 0.5 * b[kept], **call)
                for part, of in zip(found, whole, strict=True):
                    assert same_bits(part, of[kept]), (coupling, kept)


@pytest.mark.parametrize("coils", [1, 3])
@pytest.mark.parametrize("kind", ["per-sample", "per-sample-plane"])
def test_removing_a_sample_and_its_maps(backend, kind, coils):
    """Maps, masks and weights of each sample: what is left keeps its bits."""
    device = device_of(backend)
    scale = torch.linspace(0.5, 1.5, 4, dtype=torch.float64)[:, None, None, None]
    maps = (scale * birdcage(coils, *ODD)).to(device, torch.complex64)
    masks, gamma = mask(kind, *ODD, 4).to(device), torch.linspace(1, 4, 4, device=device)
    z = phantom(*ODD, 4).to(device, torch.complex64)
    for coupling in ("sample", "row") if kind == "per-sample" else ("sample",):
        call = dict(coupling=coupling, maxiter=4, backend=backend)
        A = CartesianSense(maps, masks)
        whole = subkern.cg_prox(A, z, A.matvec(2 * z), gamma=gamma, **call)
        for kept in ([0, 1, 3], [2]):
            A = CartesianSense(maps[kept], masks[kept])
            y = A.matvec(2 * z[kept])
            found = subkern.cg_prox(A, z[kept], y, gamma=gamma[kept], **call)
            for part, of in zip(found, whole, strict=True):
                assert same_bits(part, of[kept]), (coupling, kept)


@pytest.mark.parametrize("op", [ring, chain], ids=["ring", "chain"])
def test_removing_a_sample_of_a_callable(backend, op):
    n = 77 if is_simulated(backend) else 40_001  # torch splits sums of 32768 among threads
    b = vectors(4, n, device=device_of(backend))
    whole = subkern.cg(op, b, gamma=0.5, maxiter=4, backend=backend)
    for kept in ([0, 1, 3], [2]):
        found = subkern.cg(op, b[kept], gamma=0.5, maxiter=4, backend=backend)
        for part, of in zip(found, whole, strict=True):
            assert same_bits(part, of[kept])


@pytest.mark.parametrize("kind", ["line", "plane"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_bad_image(backend, kind, bad):
    """Status 4 with the start of that sample; the others as without it, rows of a line too."""
    A = sense(kind, *ODD, coils=3, samples=4, device=device_of(backend))
    z = phantom(*ODD, 4).to(device_of(backend), torch.complex64)
    z[2, 3, 4] = bad
    Aty, rest = 2 * z.nan_to_num(0, 0, 0), [0, 1, 3]
    for coupling in ("sample", "row") if kind == "line" else ("sample",):
        call = dict(gamma=4.0, coupling=coupling, maxiter=4, backend=backend)
        found = subkern.cg_prox(A, z, Aty=Aty, **call)
        clean = subkern.cg_prox(A, z[rest], Aty=Aty[rest], **call)
        for got, expected in zip(found, clean, strict=True):
            assert same_bits(got[rest], expected)
        assert found.status.tolist()[2] == 4
        assert not found.residual_norm[2].isfinite()
        # Rows that are systems of their own are solved; else the whole sample stays where it was.
        solved = torch.ones(ODD[0], dtype=torch.bool)
        solved[3] = False
        rows = found.x[2].cpu()[solved]
        assert bool(rows.isfinite().all())
        moved = not same_bits(rows, z[2].cpu()[solved])
        assert moved == (coupling == "row")


def test_empty_batches(backend):
    device = device_of(backend)
    for name, A in operators(device).items():
        b = images_of(name, A, 1)[:0].to(device)
        couplings = ("sample", "all", "row") if name == "line" else ("sample", "all")
        for coupling in couplings:
            for options in (dict(), dict(rtol=1e-3, check_every=1), dict(gamma=1.0, info=True)):
                found = subkern.cg(A, b, coupling=coupling, backend=backend, **options)
                assert found.x.shape == b.shape
                assert [v.shape for v in found[1:]] == [(0,)] * 3
                assert found.x.device.type == device


@pytest.mark.parametrize("coupling", ["sample", "row", "all"])
def test_threads(backend, coupling):
    """Neither their number nor that of the samples changes a bit."""
    if is_simulated(backend):
        pytest.skip("interpreted kernels run in one thread")
    cases = [(ring, vectors(1, 40_001)), (ring, vectors(2, 40_001))]
    for kind, size in (("line", (33, 47)), ("plane", (48, 64)), ("plane", (33, 47))):
        z = phantom(*size, 2).to(torch.complex64)
        cases.append((sense(kind, *size, coils=5, device=device_of(backend)), z))
    for op, b in cases:
        if coupling == "row" and getattr(op, "kind", "") != "line":
            continue
        runs = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            call = dict(gamma=3.0, coupling=coupling, info=True, backend=backend)
            runs.append(subkern.cg(op, b.to(device_of(backend)), **call))
        for other in runs[1:]:
            assert all(map(same_bits, runs[0], other))


@pytest.mark.parametrize("options", [dict(), dict(coupling="all"), dict(rtol=1e-3)], ids=str)
def test_fake_tensors(backend, options):
    """No step reads a number: shapes and dtypes are enough to run everything."""
    p = imaging("plane", backend)
    A, line = p.A, imaging("line", backend).A
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        b, v = (mode.from_tensor(t) for t in (p.z, vectors(2, device=device_of(backend))))
        cases = [(ring, v, dict(gamma=None)), (A, b, dict(gamma=2.0)), (line, b, dict(gamma=2.0))]
        if not options:
            cases.append((line, b, dict(gamma=2.0, coupling="row")))
        for op, rhs, more in cases:
            call = dict(maxiter=3, info=True, backend=backend, **options, **more)
            found = subkern.cg(op, rhs, rhs, **call)
            assert found.x.shape == rhs.shape
            assert found.x.dtype == rhs.dtype
            prox = subkern.cg_prox(op, rhs, Aty=rhs, **(call | dict(gamma=1.0)))
            assert [f.shape for f in prox[1:]] == [(2,)] * 3
        with pytest.raises(DataDependentOutputException):
            subkern.cg(ring, v, rtol=1e-3, maxiter=3, check_every=1, backend=backend)


def test_meta_tensors():
    """A dry run on the meta device."""
    b = torch.empty(2, 24, dtype=torch.complex64, device="meta")
    found = subkern.cg(ring, b, gamma=1.0, rtol=1e-3, precond=lambda r: 2 * r, replace_every=2)
    assert found.x.is_meta
    assert found.x.shape == b.shape


def test_reads(backend):
    """The host reads one number every check_every steps, and none without it."""
    b = vectors(3, device=device_of(backend))
    for every, expected in ((0, 0), (1, 9), (3, 3), (4, 2), (50, 0)):
        with Reads() as reads:
            subkern.cg(ring, b, rtol=1e-6, maxiter=10, check_every=every, backend=backend)
        assert reads.count == expected, every


@pytest.mark.parametrize("every", [1, 3, 7])
def test_ends_early(backend, every):
    """With check_every the operator rests once all samples are done; no result changes."""
    calls = []

    def op(v):
        calls.append(1)
        return ring(v)

    b = vectors(3, device=device_of(backend))
    call = dict(rtol=1e-4, maxiter=100, backend=backend)
    plain = subkern.cg(ring, b, **call)
    found = subkern.cg(op, b, check_every=every, **call)
    assert all(map(same_bits, found, plain))
    steps = int(plain.iterations.max())
    assert steps < 30
    assert len(calls) == math.ceil(steps / every) * every


def test_several_threads_share_an_operator(backend):
    """Solves of one operator at once, its first ones included, have the bits of one alone."""
    if is_simulated(backend):
        pytest.skip("interpreters take one call at a time")
    z = phantom(16, 16, 4).to(device_of(backend), torch.complex64)

    def solve(A, i):
        with subkern.backend(backend):
            return subkern.cg(A, z[i : i + 1], gamma=4.0, maxiter=6).x

    alone = [solve(sense("line", device=device_of(backend)), i) for i in range(4)]
    A = sense("line", device=device_of(backend))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: solve(A, i % 4), range(16)))
    for i, x in enumerate(together):
        assert same_bits(x, alone[i % 4])


def test_solves_within_solves(backend):
    """An operator may force a backend and solve a system of its own in every call."""
    b = vectors(2, device=device_of(backend))

    def inverse(v):
        with subkern.backend("reference"):
            return subkern.cg(ring, v, maxiter=40).x

    with subkern.backend(backend):
        found = subkern.cg(inverse, b, maxiter=40)
        assert subkern.backends.registry._forced.get() == backend
    exact = ring(b)
    assert float((found.x - exact).norm() / exact.norm()) <= 1e-5
