"""One body for every backend: leading subspaces against singular vectors in float64."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sktest import linalg
from sktest.backends import device_of, is_simulated

import subkern
from subkern.bench.gallery import Gallery, drifting, gallery, nonfinite
from subkern.diagnostics import captured_energy

OP = "topk_subspace"
EPS = 2.0**-23
SHAPES = [(3, 3), (17, 13), (64, 8), (33, 90), (130, 100)]
# What an iteration may lose against exact arithmetic, by the dtype of the matrix.
SLACK = {torch.float32: 1e-5, torch.bfloat16: 5e-4, torch.float64: 1e-7}


def shapes_for(backend):
    return SHAPES[:3] if is_simulated(backend) else SHAPES


def matrices(backend, m, n, **options):
    """A few matrices in the emulator, the gallery elsewhere."""
    options.setdefault("conditions", (1e2, 1e7, 1e10))
    g = gallery(m, n, **options)
    if is_simulated(backend):
        few = ("geometric-1e7", "poly-1", "exact-rank", "zero", "normal", "rank-1", "subnormal")
        g = g.pick(lambda name: name in few)
    return Gallery(g.names, g.families, g.batch.to(device_of(backend)))


def of_side(g, side):
    """The matrices whose left subspace the basis of a side spans."""
    return g if side == "left" else Gallery(g.names, g.families, g.batch.mT)


def random_basis(g, rank, seed=1):
    b, k, _ = g.batch.shape
    generator = torch.Generator().manual_seed(seed)
    wide = torch.float64 if g.batch.dtype == torch.float64 else torch.float32
    Q = torch.linalg.qr(torch.randn(b, k, rank, generator=generator, dtype=wide))[0]
    return Q.to(g.batch.device)


def find(g, rank, backend, **options):
    return subkern.topk_subspace(g.batch, rank, backend=backend, **options)


@pytest.mark.parametrize("side", ["left", "right"])
def test_exact(backend, side):
    """All that a basis can capture, ordered values, the angle that rounding allows."""
    for m, n in shapes_for(backend):
        g = matrices(backend, m, n)
        p = min(m, n)
        for rank in {1, max(p // 3, 1), p if p < 64 else p // 3}:
            found = find(g, rank, backend, side=side, mode="exact", order=True)
            X = of_side(g, side)
            least = linalg.optimal_energy(X, rank) * (1 - 1e-5)
            linalg.check_basis(X, found.basis, energy=found.energy, least=least)
            exact = torch.linalg.svdvals(g.truth.cpu())[:, :rank]
            off = (found.values.double().cpu() - exact).abs().amax(1)
            # Values come from squares: below sqrt(eps) of the first they are rounding.
            bound = 4 * math.sqrt(EPS) * exact[:, 0] + 2.0**-149
            linalg.assert_all("values", off <= bound, g)
            linalg.assert_all("falling", found.values[:, 1:] <= found.values[:, :-1], g)
            if rank < min(m, n):
                linalg.check_subspace(X, found.basis)


@pytest.mark.parametrize("side", ["left", "right"])
def test_iterate_against_the_reference(backend, side):
    """From the same start no worse than the reference in float64, and never below the start."""
    for m, n in shapes_for(backend):
        g = matrices(backend, m, n)
        X = of_side(g, side)
        wide = Gallery(g.names, g.families, g.truth.cpu())
        for rank in {1, max(min(m, n) // 4, 1)}:
            first = random_basis(X, rank)
            for iters, relax in ((1, False), (2, False), (1, True)):
                options = dict(side=side, mode="iterate", iters=iters, relax=relax)
                found = find(g, rank, backend, q_prev=first, **options)
                truth = find(wide, rank, "reference", q_prev=first.double().cpu(), **options)
                least = truth.energy - SLACK[torch.float32]
                start = captured_energy(X.truth, first).cpu()
                least = torch.maximum(least, start - 1e-6)
                linalg.check_basis(X, found.basis, energy=found.energy, least=least)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_other_dtypes(backend, dtype):
    if dtype == torch.float64 and backend != "reference":
        with pytest.raises(subkern.BackendUnavailableError, match="float32 and bfloat16"):
            subkern.topk_subspace(torch.ones(3, 3).double(), 1, backend=backend)
        return
    g = matrices(backend, 33, 20, dtype=dtype)
    for options in (dict(mode="exact"), dict(mode="iterate", iters=2)):
        first = random_basis(g, 5)
        found = find(g, 5, backend, side="left", q_prev=first, **options)
        least = captured_energy(g.truth, first).cpu() - SLACK[dtype]
        linalg.check_basis(g, found.basis, energy=found.energy, least=least)
        assert found.basis.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e-20, 1e20, 1e30, math.inf])
def test_scales(backend, scale):
    """The same subspaces at every scale: powers of two on the thin factors."""
    g = matrices(backend, 33, 20, conditions=(1e2,), families=("spectrum",)).scaled(scale)
    optimum = linalg.optimal_energy(g, 6)
    first = random_basis(g, 6)
    for options in (
        dict(mode="exact"),
        dict(mode="iterate", iters=3, oversample=6),
        dict(mode="iterate", iters=2, q_prev=first),
        dict(mode="iterate", iters=2, q_prev=first, order=True),
    ):
        found = find(g, 6, backend, side="left", **options)
        # Entries below 1e-38 are subnormal, and have few digits left.
        least = optimum - (1e-5 if options["mode"] == "exact" else 0.25)
        linalg.check_basis(g, found.basis, energy=found.energy, least=least)
        if found.values is not None:
            largest = torch.linalg.svdvals(g.truth.cpu())[:, 0]
            off = (found.values[:, 0].double().cpu() / largest - 1).abs()
            linalg.assert_all("first value", (off <= 0.1) | (largest > 3e38), g)


def test_modes_and_what_auto_means(backend):
    device = device_of(backend)
    G = torch.randn(2, 20, 30, generator=torch.Generator().manual_seed(0)).to(device)
    run = lambda *a, **o: subkern.topk_subspace(*a, backend=backend, **o)  # noqa: E731
    whole = run(G, 25)
    assert torch.equal(whole.basis, torch.eye(20, device=device).expand(2, 20, 20))
    assert torch.allclose(whole.energy.cpu(), torch.ones(2).double())
    assert run(G, 20, order=True).values.shape == (2, 20)
    assert torch.equal(run(G, 4).basis, run(G, 4, mode="exact").basis)
    assert run(G, 4, side="right").basis.shape == (2, 30, 4)
    if is_simulated(backend):
        return
    G = torch.randn(70, 90, generator=torch.Generator().manual_seed(0)).to(device)
    first = run(G, 4, mode="iterate", seed=3).basis
    warm = run(G, 4, q_prev=first)
    assert torch.equal(warm.basis, run(G, 4, mode="iterate", q_prev=first).basis)
    cold = run(G, 4, seed=5)
    assert torch.equal(cold.basis, run(G, 4, mode="iterate", iters=2, oversample=16, seed=5).basis)
    assert not torch.equal(cold.basis, run(G, 4, seed=6).basis)
    assert run(G, 4, return_energy=False).energy is None
    start = run(G, 4, q_prev=first, return_energy="start").energy
    assert float(start) == pytest.approx(float(captured_energy(G, first)), abs=1e-6)


def test_alignment(backend):
    device = device_of(backend)
    G = next(drifting(24, 40, 0.1, count=1)).to(device)
    kwargs = dict(side="left", backend=backend, mode="iterate")
    plain = subkern.topk_subspace(G, 6, iters=3, seed=1, **kwargs).basis
    turned = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2)))[0]
    for name in ("exact", "iterate"):
        kwargs["mode"] = name
        flipped = plain * torch.tensor([1.0, -1, -1, 1, -1, 1], device=device)
        none = subkern.topk_subspace(G, 6, q_prev=flipped, align="none", **kwargs)
        sign = subkern.topk_subspace(G, 6, q_prev=flipped, **kwargs)
        assert ((sign.basis * flipped).sum(0) >= 0).all()
        assert torch.equal(sign.basis.abs(), none.basis.abs())
        assert sign.rotation is None
        previous = plain @ turned.to(device)
        near = subkern.topk_subspace(G, 6, q_prev=previous, align="procrustes", **kwargs)
        overlap = near.basis.T @ previous  # symmetric and positive: no rotation brings it nearer
        assert torch.allclose(overlap, overlap.T, atol=1e-5)
        assert torch.linalg.eigvalsh(overlap.cpu()).min() > 0
        O = near.rotation.double().cpu()  # noqa: E741
        assert (O.T @ O - torch.eye(6).double()).norm() <= 1e-5
        assert float(near.energy) == pytest.approx(float(none.energy), abs=1e-6)
    cold = subkern.topk_subspace(G, 6, align="procrustes", **kwargs)
    assert torch.equal(cold.rotation, torch.eye(6, device=device))


def test_wide_alignment_needs_no_small_problem(backend):
    """More than 64 columns: an iteration instead of Jacobi, also when nothing is left to align."""
    if is_simulated(backend):
        pytest.skip("an emulated product of this size takes minutes")
    generator = torch.Generator().manual_seed(3)
    G = torch.randn(160, 200, generator=generator).to(device_of(backend))
    opposite = torch.linalg.qr(torch.randn(160, 80, generator=generator))[0].to(G.device)
    for previous in (opposite, torch.eye(160, 80, device=G.device)):
        found = subkern.topk_subspace(
            G, 80, q_prev=previous, mode="exact", align="procrustes", backend=backend
        )
        one = Gallery(("one",), ("one",), G[None])
        linalg.check_orthonormal(one, found.basis[None])
        overlap = (found.basis.T @ previous).double().cpu()
        best = torch.linalg.svdvals((found.basis.T @ previous).double().cpu()).sum()
        assert float(overlap.trace()) >= 0.999 * float(best)


@pytest.mark.parametrize("mode", ["exact", "iterate"])
def test_guardrails(backend, mode):
    """Zero and non-finite matrices keep the start; the rest of the batch keeps its bits."""
    poisons = nonfinite(12, 20)
    for case in itertools.islice(poisons, 3 if is_simulated(backend) else None):
        batch = case.batch.to(device_of(backend))
        first = random_basis(Gallery(("",) * 5, ("",) * 5, batch), 3)
        at = case.position
        kept = [i for i in range(5) if i != at]
        options = dict(mode=mode, backend=backend, side="left", order=True)
        found = subkern.topk_subspace(batch, 3, q_prev=first, **options)
        clean = subkern.topk_subspace(batch[kept], 3, q_prev=first[kept], **options)
        assert torch.equal(found.basis[at], first[at]), case.name
        assert found.energy[at].isnan(), case.name
        assert int(found.info[at]) == 1, case.name
        for got, expected in zip(found, clean, strict=True):
            if got is not None:
                assert linalg.same_bits(got[kept], expected).all(), case.name
        cold = subkern.topk_subspace(batch, 3, **options).basis[at]
        assert torch.equal(cold, torch.eye(12, 3, device=cold.device)), case.name
    zero = torch.zeros(12, 20, device=device_of(backend))
    found = subkern.topk_subspace(zero, 3, q_prev=first[0], mode=mode, backend=backend)
    assert torch.equal(found.basis, first[0])
    assert (float(found.energy), int(found.info)) == (0.0, 2)
    with pytest.raises(torch.linalg.LinAlgError, match=r"topk_subspace: .* not finite"):
        subkern.topk_subspace(batch, 3, mode=mode, check=True, backend=backend)


def test_a_start_that_is_not_finite(backend):
    G = torch.randn(2, 12, 20, generator=torch.Generator().manual_seed(0)).to(device_of(backend))
    first = torch.eye(12, 3, device=G.device).repeat(2, 1, 1)
    first[1, 5, 2] = math.nan
    for mode in ("exact", "iterate"):
        found = subkern.topk_subspace(G, 3, q_prev=first, mode=mode, backend=backend)
        assert found.info.tolist() == [0, 1]
        assert torch.isfinite(found.basis[0]).all()
        assert linalg.same_bits(found.basis[1:], first[1:]).all()


def test_bits_do_not_depend_on_the_batch(backend):
    g = matrices(backend, 17, 30, conditions=(1e2,), families=("spectrum",))
    first = random_basis(g, 4)
    for options in (dict(mode="exact"), dict(mode="iterate", iters=2), dict(order=True)):

        def run(index, options=options):
            start = None if options.get("order") else first[index]
            found = subkern.topk_subspace(
                g.batch[index], 4, q_prev=start, backend=backend, **options
            )
            return [x for x in found if x is not None]

        together = run(slice(None))
        for i in range(0, len(g.names), 3):
            for one, all_of_them in zip(run(slice(i, i + 1)), together, strict=True):
                assert linalg.same_bits(one, all_of_them[i : i + 1]).all(), (options, i)


def test_info_says_when_columns_are_arbitrary(backend):
    """Fewer directions than columns: orthonormal all the same, and bit 1."""
    generator = torch.Generator().manual_seed(4)
    low = torch.randn(24, 3, generator=generator) @ torch.randn(3, 40, generator=generator)
    full = torch.randn(24, 40, generator=generator)
    batch = torch.stack([low, full]).to(device_of(backend))
    first = random_basis(Gallery(("", ""), ("", ""), batch), 6)
    for options in (
        dict(mode="exact"),
        dict(mode="iterate", iters=2),
        dict(mode="iterate", iters=2, q_prev=first),
        dict(mode="iterate", iters=2, oversample=4, order=True),
    ):
        found = subkern.topk_subspace(batch, 6, side="left", backend=backend, **options)
        assert found.info.tolist() == [2, 0], options
        assert float(found.energy[0]) == pytest.approx(1, abs=1e-5), options
        assert subkern.diagnostics.orthonormality_error(found.basis).max() <= 8 * EPS * 6**0.5
    tall = low[:, :3].contiguous().to(batch.device)  # more columns than the matrix has
    for mode in ("exact", "iterate"):
        found = subkern.topk_subspace(tall, 10, side="left", mode=mode, backend=backend)
        assert found.basis.shape == (24, 10)
        assert int(found.info) == 2
        assert subkern.diagnostics.orthonormality_error(found.basis) <= 8 * EPS * 10**0.5


def test_layouts_and_output_dtypes(backend):
    base = torch.randn(4, 24, 40, generator=torch.Generator().manual_seed(5)).to(device_of(backend))
    plain = subkern.topk_subspace(base, 4, backend=backend).basis
    for view in (base.mT.contiguous().mT, torch.stack([base, base], 3)[..., 0]):
        found = subkern.topk_subspace(view, 4, backend=backend).basis
        assert torch.allclose(found @ found.mT, plain @ plain.mT, atol=1e-4)
    nested = subkern.topk_subspace(base.reshape(2, 2, 24, 40), 4, backend=backend)
    assert torch.equal(nested.basis.reshape(4, 24, 4), plain)
    assert nested.energy.shape == nested.info.shape == (2, 2)
    rounded = subkern.topk_subspace(base, 4, out_dtype=torch.bfloat16, backend=backend).basis
    assert torch.equal(rounded, plain.bfloat16())
    kept = base.clone()
    subkern.topk_subspace(base.requires_grad_(), 4, q_prev=plain, backend=backend)
    assert torch.equal(base, kept)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0), (3, 1, 1)], ids=str)
def test_empty_and_small(backend, shape):
    G = torch.ones(shape, device=device_of(backend))
    for rank in (0, 1):
        for order in (False, True):
            found = subkern.topk_subspace(G, rank, order=order, backend=backend)
            k, r = min(shape[1:]), min(rank, *shape[1:])
            k = shape[1] if shape[1] <= shape[2] else shape[2]
            assert found.basis.shape == (shape[0], k, min(rank, k))
            assert found.energy.shape == (shape[0],)
            if G.numel() and r:
                assert torch.allclose(found.energy.cpu(), torch.ones(shape[0]).double())


@settings(max_examples=40)
@given(
    shape=st.sampled_from([(6, 9), (17, 12), (24, 40), (70, 30)]),
    rank=st.integers(1, 6),
    power=st.sampled_from([0.0, 0.5, 1.0, 2.0, 6.0]),
    gap=st.sampled_from([1.0, 1e-2, 1e-4, 1e-7]),
    mix=st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 1.0]),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
    seed=st.integers(0, 1000),
)
def test_energy_never_drops(shape, rank, power, gap, mix, scale, seed):
    """Whatever the spectrum and the start, also one that is nearly the answer."""
    m, n = shape
    generator = torch.Generator().manual_seed(seed)
    p = min(m, n)
    U = torch.linalg.qr(torch.randn(m, p, generator=generator).double())[0]
    V = torch.linalg.qr(torch.randn(n, p, generator=generator).double())[0]
    s = torch.arange(1, p + 1).double() ** -power
    s[rank:] *= gap
    G = ((U * s) @ V.T * scale).float()
    start = U[:, :rank] + mix * torch.randn(m, rank, generator=generator).double()
    turn = torch.linalg.qr(torch.randn(rank, rank, generator=generator).double())[0]
    Q = torch.linalg.qr(start @ turn)[0].float()
    for backend, relax in itertools.product(("reference", "cpu"), (False, True)):
        Q_now = Q
        energy = captured_energy(G.double(), Q_now)
        for _ in range(3):
            Q_now = subkern.topk_subspace(
                G, rank, side="left", mode="iterate", q_prev=Q_now, relax=relax, backend=backend
            ).basis
            after = captured_energy(G.double(), Q_now)
            assert float(after) >= float(energy) - 1e-6
            energy = after


def test_relaxation_pays_where_gradients_drift(backend):
    """Two ways through the same gradients: relaxed steps stay closer to the best basis."""
    shape = (24, 40) if is_simulated(backend) else (96, 160)
    rank = shape[0] // 4
    first, *rest = drifting(*shape, 0.1, count=3 if is_simulated(backend) else 8)
    device = device_of(backend)
    Q = subkern.topk_subspace(first.to(device), rank, mode="exact", backend=backend).basis
    plain, relaxed = Q, Q
    for G in rest:
        G = G.to(device)
        options = dict(mode="iterate", backend=backend)
        plain = subkern.topk_subspace(G, rank, q_prev=plain, **options).basis
        relaxed = subkern.topk_subspace(G, rank, q_prev=relaxed, relax=True, **options).basis
    assert float(captured_energy(G, relaxed)) > float(captured_energy(G, plain)) + 1e-4


def test_warm_starts_follow_a_drift(backend):
    """Ten gradients, one iteration each, against the best basis of each."""
    shape = (24, 40) if is_simulated(backend) else (96, 160)
    rank = shape[0] // 4
    for drift, least in ((0.1, 0.97), (0.5, 0.9), (1.0, 0.85)):
        Q = None
        for G in drifting(*shape, drift, count=3 if is_simulated(backend) else 10):
            G = G.to(device_of(backend))
            Q = subkern.topk_subspace(
                G, rank, mode="iterate", q_prev=Q, iters=1 if Q is not None else 3, backend=backend
            ).basis
            one = Gallery(("one",), ("one",), G[None])
            best = float(linalg.optimal_energy(one, rank)[0])
            assert float(captured_energy(G, Q)) >= least * best
